"""Scores of candidates by a bundled model, against formulas that stand here."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from baldistill.answers.completion import Completion
from baldistill.bundled import DOMAINS, make_example
from baldistill.config import Config
from baldistill.core.ifd import ifd_batch
from baldistill.generation.encoding import context_token, encode_prompt
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import Continuation, ModelRef, Request, Sampling
from baldistill.records import EXAMPLES
from baldistill.student.answer import conclusion_of, examine, respond
from baldistill.student.score import score_responses
from baldistill.teacher.prompts import load_prompts

PROMPTS = load_prompts("compact", model="bundled")
SAMPLING = Sampling(max_new_tokens=40)


class Engines:
    """A small model in this process, asked as a pool is. It knows what the student has to learn."""

    def __init__(self, model: str = "bundled-teacher") -> None:
        self.engine = TransformersEngine(device="cpu")
        self.engine.load(ModelRef(model))

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        return self.engine.generate(requests, sampling)

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.engine.score(token_ids)

    def score_texts(self, rows: Sequence[Continuation]) -> list[np.ndarray]:
        return self.engine.score_texts(rows)


@pytest.fixture(scope="module")
def pool() -> Any:
    return Engines()


def questions(number: int) -> pa.Table:
    rng = random.Random(4)
    rows = []
    for i in range(number):
        made = make_example(DOMAINS[i % len(DOMAINS)], rng)
        row = f"{i:032x}", made.domain, made.question, made.answer, None
        rows.append(dict(zip(EXAMPLES.names, row, strict=True)))
    return pa.Table.from_pylist(rows, schema=EXAMPLES)


def scored(pool: Any, examples: pa.Table, **selection: Any) -> list[dict[str, Any]]:
    config = Config.model_validate({"selection": selection})
    table = score_responses(examples, pool, PROMPTS, SAMPLING, config, seed=3)
    return list(table.to_pylist())


def test_wrong_scores_are_those_of_marks_and_ifd(pool: Any) -> None:
    examples = questions(24)
    marks = examine(examples, pool, PROMPTS, SAMPLING, Config(seed=3))["score"].to_pylist()
    rows, by_ifd = scored(pool, examples, metric="wrong"), scored(pool, examples)
    assert 0 < sum(marks) < len(marks), "some are right, and some are wrong"
    assert [row["correct"] for row in rows] == [mark >= 0.5 for mark in marks]
    assert [row["correct"] for row in by_ifd] == [row["correct"] for row in rows]
    for row, plain, mark in zip(rows, by_ifd, marks, strict=True):
        ifd = np.exp(row["nll_conditional"] - row["nll_unconditional"])
        assert plain["score"] == pytest.approx(ifd)
        assert row["score"] == pytest.approx((1 - mark) + ifd / (1 + ifd))


def test_disagreement_counts_answers_that_are_sampled_by_seed(pool: Any) -> None:
    examples, config = questions(10), Config()
    rows = scored(pool, examples, metric="disagreement", samples=4)
    assert rows == scored(pool, examples, metric="disagreement", samples=4)
    halves = [examples.slice(0, 3), examples.slice(3)]
    parts = [scored(pool, half, metric="disagreement", samples=4) for half in halves]
    assert [row["score"] for part in parts for row in part] == [row["score"] for row in rows]

    answers = respond(examples, pool, PROMPTS, replace(SAMPLING, temperature=0.7), 3, samples=4)
    assert len({a.text for a in answers}) > len(rows), "they are sampled"
    for number, row in enumerate(rows):
        texts = [answer.text for answer in answers[4 * number : 4 * number + 4]]
        concluded = [conclusion_of(row, text, PROMPTS, config) for text in texts]
        largest = max(Counter(c for c in concluded if c is not None).values(), default=1)
        assert row["score"] == pytest.approx(1 - largest / 4)
        assert row["response"] == texts[0]
    assert len({row["score"] for row in rows}) > 1


def test_without_gold_answers_nothing_is_marked(pool: Any) -> None:
    values = {
        "data": {"columns": {"answer": None, "evaluation_answer": "answer"}, "train": "a.jsonl"},
        "rationale": {"sees": "question", "accept": "majority"},
        "selection": {"metric": "disagreement", "samples": 2},
    }
    values["data"]["evaluation"] = "b.jsonl"
    config = Config.model_validate(values)
    table = score_responses(questions(3), pool, PROMPTS, SAMPLING, config, seed=3)
    assert table["correct"].null_count == 3
    assert table["score"].null_count == 0


def test_responses_are_those_of_a_single_answer(pool: Any) -> None:
    """The first of several answers has the seed that the only answer had in earlier versions."""
    examples, warm = questions(4), replace(SAMPLING, temperature=1.0)
    alone = respond(examples, pool, PROMPTS, warm, 9)
    several = respond(examples, pool, PROMPTS, warm, 9, samples=3)
    assert [answer.text for answer in alone] == [answer.text for answer in several[::3]]
    given = [answer.logprobs for answer in alone]
    own = pool.score([answer.token_ids for answer in alone])
    assert np.isfinite(ifd_batch(given, own)).all()


LONG = [  # gold answers of several words
    "Because the sum of both is forty two.", "It is May, and not June.", "He has 17 pens.",
    "No. The bus is late.", "Yes, it is.", "12 boxes", "Ann had five more than Bob.",
    "7 plus 5 is 12", "the red one, the blue one", "On a Monday in the year of the great flood",
]  # fmt: skip


def published(pool: Any, prompt: str | None, text: str) -> tuple[float, float]:
    """Mean loss and perplexity of a text, by the model's own loss: a row at a time."""
    engine = pool.engine
    tokens = engine._tokenizer(text, add_special_tokens=False)["input_ids"]
    before = [context_token(engine._tokenizer)]
    if prompt is not None:
        before = encode_prompt(engine._tokenizer, prompt)
    ids = torch.tensor([[*before, *tokens]])
    labels = ids.clone()
    labels[:, : len(before)] = -100
    with torch.inference_mode():
        loss = engine._model(input_ids=ids, labels=labels).loss
    return float(loss), float(torch.exp(loss))


@pytest.mark.parametrize("ceiling", [None, 1.0])
def test_scores_of_gold_answers_are_those_of_superfiltering_and_cherry(
    ceiling: float | None,
) -> None:
    """Superfiltering: PPL(A|Q) / PPL(A), below 1. Cherry's code: loss(A|Q) / loss(A), below 1."""
    pool, examples = Engines("bundled-student"), questions(10)
    examples = examples.set_column(3, EXAMPLES.field("answer"), pa.array(LONG))
    options = {"text": "gold", "ceiling": ceiling}
    by_perplexity = scored(pool, examples, **options)
    by_loss = scored(pool, examples, metric="loss_ratio", **options)
    dropped = 0
    for row, other, text in zip(by_perplexity, by_loss, LONG, strict=True):
        loss, perplexity = published(pool, f"Question: {row['question']}\n", text)
        own_loss, own_perplexity = published(pool, None, text)
        ifd, ratio = perplexity / own_perplexity, loss / own_loss
        assert (row["response"], row["correct"]) == (text, None)
        assert (ifd > 1) == (ratio > 1)
        if ceiling is not None and ifd > ceiling:
            dropped += 1
            assert np.isnan(row["score"])
            assert np.isnan(other["score"])
            continue
        assert row["score"] == pytest.approx(ifd, rel=1e-4)
        assert other["score"] == pytest.approx(ratio, rel=1e-4)
    assert 0 < dropped < 10 or ceiling is None
    orders = {
        tuple(np.argsort([row["score"] for row in rows])) for rows in (by_perplexity, by_loss)
    }
    assert ceiling is not None or len(orders) == 2, "they rank otherwise"


def test_a_text_has_the_same_tokens_with_a_prompt_and_without(pool: Any) -> None:
    context = pool.engine._model.config.max_position_embeddings
    texts = ["", "one", "many words " * context]
    rows = [Continuation(text, prompt) for text in texts for prompt in (None, "Why? " * context)]
    scores = pool.score_texts(rows)
    lengths = [len(values) for values in scores]
    assert lengths[::2] == lengths[1::2]
    assert lengths[0] == 0 < lengths[2] < lengths[4] == context // 2
    alone = [pool.score_texts([row])[0] for row in rows]
    for together, one in zip(scores, alone, strict=True):
        np.testing.assert_allclose(together, one, atol=1e-4)
