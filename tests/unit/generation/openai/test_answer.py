"""What a server says becomes a completion of valid types, or a fault: any JSON, any bytes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.answers.completion import MOST_TOKENS, Completion
from baldistill.config.engines import OpenAIOptions
from baldistill.core.ledger import Settle
from baldistill.generation.openai.answer import completion_of
from baldistill.generation.openai.batch.files import (
    Batch,
    batch_of,
    batches_of,
    id_of,
    learnt_of,
    may_hold,
    metadata_of,
    outcome_of,
    read_lines,
)
from baldistill.generation.openai.bounded import json_value
from baldistill.generation.openai.dialect import Dialect
from baldistill.generation.openai.faults import Fault, UnusableAnswerError, quoted, refusal
from baldistill.generation.types import Message, Request, Sampling, max_prompt_tokens

KEY = "canary-0123456789abcdef"
GREEDY = Sampling(max_new_tokens=20)
REQUEST = Request("r", "What is 1 + 1?")

letters = st.characters()  # with lone surrogates
numbers = st.integers() | st.integers(-3, 40) | st.floats()
leaves = st.none() | st.booleans() | numbers | st.text(letters, max_size=20) | st.just(KEY)
names = st.sampled_from(
    ["choices", "text", "message", "content", "refusal", "finish_reason", "usage", "logprobs",
     "prompt_tokens", "completion_tokens", "tokens", "token_logprobs", "token", "logprob", "error",
     "message", "code", "type", "param", "metadata", "reasons", "id", "status", "data", "has_more",
     "request_counts", "completed", "total", "errors", "output_file_id", "response",
     "status_code", "body", "custom_id"]
) | st.text(letters, max_size=5)  # fmt: skip
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=20,
)


@st.composite
def near_answers(draw: st.DrawFn) -> dict[str, Any]:
    """Answers of the right form, with anything in some places."""
    text = st.text(letters, max_size=20) | anything
    choice = {"index": 0, "finish_reason": draw(st.sampled_from(["stop", "length"]) | anything)}
    if draw(st.booleans()):
        choice["message"] = {"content": draw(text), "refusal": draw(st.none() | anything)}
    else:
        choice["text"] = draw(text)
    if draw(st.booleans()):
        choice["logprobs"] = draw(
            st.fixed_dictionaries({"content": anything})
            | st.fixed_dictionaries(
                {"tokens": st.lists(leaves, max_size=2), "token_logprobs": st.lists(leaves)}
            )
        )
    counts = st.fixed_dictionaries({"prompt_tokens": leaves, "completion_tokens": leaves})
    return {"choices": [choice], "usage": draw(counts | anything)}


def assert_valid(outcome: Completion | Fault) -> None:
    """It can be stored, settled, written and shown, and says no key."""
    if isinstance(outcome, Fault):
        said = str(outcome)
        assert outcome.remedy in ("again", "wait", "row", "stop")
        assert type(outcome.status) is int
    else:
        row = outcome.to_row()
        assert type(row["prompt_tokens"]) is type(row["completion_tokens"]) is int
        assert 0 <= row["prompt_tokens"] <= MOST_TOKENS
        assert 0 <= row["completion_tokens"] <= MOST_TOKENS
        assert Settle("r", row["prompt_tokens"], row["completion_tokens"])
        assert outcome.logprobs.dtype == np.float32
        assert outcome.logprobs.ndim == 1
        assert outcome.finish_reason in ("stop", "length", "error")
        if outcome.error is None:
            assert Completion.from_row(row, "s") == Completion(
                "r", outcome.text, prompt_tokens=outcome.prompt_tokens,
                finish_reason=outcome.finish_reason, billed_tokens=outcome.completion_tokens,
                segment="s",
            )  # fmt: skip
        said = f"{outcome.text} {outcome.error} {outcome.odd_usage}"
    assert_shown(said)


def assert_shown(text: str) -> None:
    text.encode()
    assert KEY not in text


@given(near_answers() | anything)
def test_any_json_becomes_a_completion_or_no_answer(answer: Any) -> None:
    try:
        assert_valid(completion_of(REQUEST, GREEDY, answer, KEY))
    except UnusableAnswerError as error:
        assert_shown(str(error))


@given(st.integers(-10, 1000), anything, st.none() | st.floats(0, 10))
def test_any_refusal_becomes_a_fault(status: int, body: Any, wait: float | None) -> None:
    fault = refusal(status, body, KEY, wait)
    assert_valid(fault)
    assert fault.field is None or isinstance(fault.field, str)
    body = {"messages": [], "max_tokens": 3, "seed": 1, "response_format": {"type": "json_object"}}
    assert Dialect(OpenAIOptions()).learn(fault, body) is None or fault.status in (400, 422)


rows = st.fixed_dictionaries(
    {"custom_id": st.just("r"), "response": anything | st.fixed_dictionaries(
        {"status_code": st.sampled_from([200, 400, 429, 500]) | leaves,
         "body": near_answers() | anything}), "error": anything}
)  # fmt: skip


@given(st.none() | st.dictionaries(names, anything) | rows)
def test_any_row_of_a_batch_becomes_a_completion_or_a_fault(line: dict[str, Any] | None) -> None:
    assert_valid(outcome_of(REQUEST, GREEDY, line, KEY))


@given(st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_lines_or_no_file(content: bytes) -> None:
    try:
        lines = read_lines(content, KEY)
    except UnusableAnswerError as error:
        assert_shown(str(error))
    else:
        assert all(isinstance(line, dict) and line["custom_id"] == n for n, line in lines.items())


@given(anything | st.fixed_dictionaries({"id": st.text(min_size=1), "status": leaves}))
def test_any_json_is_a_batch_or_none(fields: Any) -> None:
    for read in (batch_of, id_of):
        try:
            batch = read(fields, KEY)
        except UnusableAnswerError:
            continue
        if isinstance(batch, Batch):
            assert all(type(count) is int for count in (batch.num_answered, batch.num_rows))
            assert all(isinstance(text, str) for text in [batch.id, batch.status, *batch.metadata])
            may_hold(batch.metadata, "m", ["a"])


@given(anything | st.fixed_dictionaries({"data": st.lists(anything), "has_more": anything}))
def test_any_json_is_a_page_of_batches_or_none(page: Any) -> None:
    try:
        batches, more = batches_of(page, "m", KEY)
    except UnusableAnswerError:
        return
    assert all(isinstance(batch, Batch) for batch in batches)
    assert isinstance(more, bool)


def test_a_batch_of_ours_that_cannot_be_read_is_not_overlooked() -> None:
    ours = {"id": 3, "metadata": metadata_of("m", ["a"])}
    theirs = {"id": 3, "metadata": None}
    assert batches_of({"data": [theirs]}, "m", KEY) == ([], False)
    with pytest.raises(UnusableAnswerError):
        batches_of({"data": [theirs, ours]}, "m", KEY)


@given(anything.map(json.dumps) | st.text())
def test_what_another_process_learnt_leaves_out_optional_fields_alone(text: str) -> None:
    dialect = Dialect(OpenAIOptions())
    try:
        dialect.adopt(learnt_of(metadata_of("m", ["a"], text)))
    except ValueError:
        assert dialect == Dialect(OpenAIOptions())
    assert dialect.dropped <= {"seed", "logprobs", "top_p", "temperature"}


def test_deep_brackets_are_no_json() -> None:
    with pytest.raises(UnusableAnswerError):
        json_value(b"[" * 100_000)


@pytest.mark.parametrize(
    "count",
    [-1, -1e300, math.nan, math.inf, -math.inf, 1e308, 10**30, 2**63, 12.5, "12", "many", True, [3],
     {}, 10**6],
)  # fmt: skip
def test_an_impossible_count_is_replaced_by_an_estimate_within_the_reserved_bound(
    count: Any,
) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": count}
    for text in ("Answer: 2", "la " * 100_000):
        answer = {"choices": [{"text": text}], "usage": usage}
        completion = completion_of(REQUEST, GREEDY, answer, KEY)
        assert 0 < completion.prompt_tokens <= max_prompt_tokens(REQUEST.prompt, GREEDY)
        assert 0 < completion.completion_tokens <= GREEDY.max_new_tokens
        assert completion.odd_usage
        assert completion.text == text


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"completion_tokens": 0}])
def test_a_server_that_does_not_count_is_not_odd(usage: Any) -> None:
    completion = completion_of(REQUEST, GREEDY, {"choices": [{"text": "2"}], "usage": usage}, KEY)
    assert (completion.prompt_tokens, completion.completion_tokens) == (4, 1)
    assert completion.odd_usage == ""


def test_whole_counts_are_kept_also_those_above_the_bound_by_a_hidden_text() -> None:
    usage = {"prompt_tokens": 900.0, "completion_tokens": 25}
    chat = Request("r", (Message("user", "Hi"),))
    completion = completion_of(chat, GREEDY, {"choices": [{"text": "2"}], "usage": usage}, KEY)
    assert (completion.prompt_tokens, completion.completion_tokens) == (900, 25)
    assert completion.odd_usage == ""


@given(st.integers(0, 400), st.sampled_from([KEY, "sk-proj-0123456789abcdef", 'it\'s\\a "key" 1']))
def test_a_key_is_masked_before_a_text_is_cut(start: int, key: str) -> None:
    for text in ("x" * start + key + "y" * 20_000, repr("x" * start + key)):
        said = quoted(text, key)
        assert key[:6] not in said
        assert not any(said.removesuffix("...").endswith(key[:n]) for n in range(3, len(key)))
