from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from baldistill.bundled import DOMAINS, make_example, model_dir
from baldistill.errors import DataError
from baldistill.generation.types import Message
from baldistill.student.batching import collate
from baldistill.student.encode import EXPLAINED, IGNORED, Lesson, encode_examples

TOKENIZER = AutoTokenizer.from_pretrained(model_dir("student"))


def encode(prompt: Any, target: str, max_length: int = 1024) -> tuple[dict[str, list[int]], int]:
    encoded = encode_examples([Lesson(prompt, target)], TOKENIZER, max_length)
    return encoded.rows[0], encoded.truncated


def test_prompt_and_target_are_tokenised_as_they_would_be_together() -> None:
    rng = random.Random(0)
    for domain in DOMAINS:
        made = make_example(domain, rng)
        prompt = f"Question: {made.question}\n"
        target = f"{made.rationale}\nAnswer: {made.answer}"
        row, truncated = encode(prompt, target)
        together = TOKENIZER(prompt + target, add_special_tokens=False)["input_ids"]
        assert row["input_ids"] == [
            TOKENIZER.bos_token_id, *together, TOKENIZER.eos_token_id
        ]  # fmt: skip
        assert not truncated


@given(st.text(), st.text())
def test_the_loss_is_on_the_response_only(question: str, target: str) -> None:
    row, _ = encode(f"Question: {question}\n", target)
    learnt = [token for token in row["labels"] if token != IGNORED]
    assert learnt == row["input_ids"][-len(learnt) :]
    assert row["labels"][: -len(learnt)] == [IGNORED] * (len(row["labels"]) - len(learnt))
    assert TOKENIZER.decode(learnt) == f"{target}<eos>"


@given(st.integers(0, 200), st.integers(0, 200), st.integers(16, 128))
def test_what_is_too_long_is_cut_and_both_parts_stay(
    prompt: int, target: int, max_length: int
) -> None:
    row, truncated = encode("1" * prompt + "\n", "2" * target, max_length)
    two, one = TOKENIZER.encode("21", add_special_tokens=False)
    learnt = [token for token in row["labels"] if token != IGNORED]
    assert len(row["input_ids"]) == len(row["labels"]) <= max_length
    assert row["input_ids"][0] == TOKENIZER.bos_token_id
    left = [token for token in row["input_ids"][: -len(learnt)] if token == one]
    whole = prompt + 2 + target + 1 <= max_length
    assert truncated == (not whole)
    if whole:
        assert len(left) == prompt
        assert learnt == [two] * target + [TOKENIZER.eos_token_id]
    else:
        assert len(row["input_ids"]) == max_length
        assert learnt[: min(target, 4)] == [two] * min(target, 4)  # a target loses its end only
        assert len(left) >= min(prompt, max_length // 4 - 2)


def test_a_chat_is_encoded_like_the_plain_text_that_it_becomes() -> None:
    row, _ = encode((Message("user", "Why?"),), "So.")
    assert TOKENIZER.decode(row["input_ids"]) == "<bos>Why?\nSo.<eos>"


def test_examples_without_a_target_are_counted_and_none_at_all_is_an_error() -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_dir("student"))
    tokenizer.eos_token = None
    encoded = encode_examples([Lesson("a\n", ""), Lesson("b\n", "x")], tokenizer, 64)
    assert (len(encoded.rows), encoded.dropped) == (1, 1)
    with pytest.raises(DataError, match="none of 2 training examples has a target token"):
        encode_examples([Lesson("a\n", ""), Lesson("b\n", "")], tokenizer, 64)


def test_batches_are_padded_on_the_right_and_padding_is_not_learnt() -> None:
    rows = [{"input_ids": [1, 7, 8], "labels": [IGNORED, 7, 8]},
            {"input_ids": [1, 9], "labels": [IGNORED, 9]}]  # fmt: skip
    (part,) = collate(rows, pad=0, budget=64, layout="masked")["micro_batches"]
    assert {name: tensor.tolist() for name, tensor in part.items()} == {
        "input_ids": [[1, 7, 8], [1, 9, 0]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "selected": [0, 1, 3],
        "targets": [7, 8, 9],
    }


def test_an_explanation_is_a_row_of_its_own_and_may_be_missing() -> None:
    plain = [Lesson("Predict: 1\n", "Answer: a"), Lesson("Predict: 2\n", "Answer: b")]

    def explained(text: str) -> list[Lesson]:
        return [replace(plain[0], explanation=("Explain: 1\n", text)), plain[1]]

    encoded = encode_examples(explained("So it is."), TOKENIZER, 64)
    alone = encode_examples([Lesson("Explain: 1\n", "So it is.")], TOKENIZER, 64)
    assert encoded.rows[0].pop(EXPLAINED) == alone.rows[0]
    assert encoded.rows == encode_examples(plain, TOKENIZER, 64).rows
    cut = encode_examples(explained("long " * 20), TOKENIZER, 24)
    assert cut.truncated == 1
