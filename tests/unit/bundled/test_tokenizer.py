"""The tokenizer of the bundled models."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from baldistill.bundled import DOMAINS, make_example, model_dir
from tools.bundled_models import formats

TOKENIZER: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model_dir("teacher"))


def _ids(text: str) -> list[int]:
    return TOKENIZER(text)["input_ids"]


def test_both_models_have_the_same_tokenizer() -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        teacher, student = (model_dir(model) / name for model in ("teacher", "student"))
        assert teacher.read_bytes() == student.read_bytes()


def test_special_tokens_differ_and_nothing_is_added() -> None:
    special = {TOKENIZER.bos_token_id, TOKENIZER.eos_token_id, TOKENIZER.pad_token_id}
    assert len(special) == 3
    assert None not in special
    assert not special & set(_ids("Question: What is 1 plus 1?\n"))
    assert _ids("") == []
    assert len(TOKENIZER) <= 512


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_decoded_to_itself(text: str) -> None:
    assert TOKENIZER.decode(_ids(text)) == text


@given(st.text("0123456789", max_size=20))
def test_each_digit_is_a_token(digits: str) -> None:
    assert [TOKENIZER.decode([i]) for i in _ids(digits)] == list(digits)


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"])),
    completion=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_text_after_a_newline_is_encoded_independently(prompt: str, completion: str) -> None:
    assert _ids(f"{prompt}\n") + _ids(completion) == _ids(f"{prompt}\n{completion}")


@pytest.mark.parametrize("domain", DOMAINS)
def test_examples_are_short_and_survive(domain: str) -> None:
    rng = random.Random(0)
    for _ in range(50):
        example = make_example(domain, rng)
        prompt = formats.solve_prompt(example.question)
        completion = formats.solution(example.rationale, example.answer)
        assert _ids(prompt) + _ids(completion) == _ids(prompt + completion)
        assert TOKENIZER.decode(_ids(prompt + completion)) == prompt + completion
        assert len(_ids(prompt + completion)) < 100
