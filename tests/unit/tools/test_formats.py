"""The texts that the bundled models read and write."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.bundled import DOMAINS, make_example
from tools.bundled_models import formats


def test_prompts_are_exactly_these() -> None:
    assert formats.solve_prompt("Q?") == "Question: Q?\n"
    assert formats.rationale_prompt("Q?", "7") == "Question: Q?\nGold answer: 7\n"
    assert formats.synthesis_prompt("ages", []) == "Domain: ages\nNew question:\n"
    assert formats.synthesis_prompt("ages", [("Q?", "7"), ("R?", "8")]) == (
        "Domain: ages\nQuestion: Q?\nAnswer: 7\nQuestion: R?\nAnswer: 8\nNew question:\n"
    )


@pytest.mark.parametrize("domain", DOMAINS)
def test_completions_are_parsed_back(domain: str) -> None:
    example = make_example(domain, random.Random(0))
    solution = formats.solution(example.rationale, example.answer)
    assert solution == f"{example.rationale}\nAnswer: {example.answer}"
    assert formats.parse_solution(solution) == (example.rationale, example.answer)
    assert formats.parse_synthesis(formats.synthesis(example)) == (
        example.question,
        example.rationale,
        example.answer,
    )


@pytest.mark.parametrize(
    "text", ["", "no answer", "r\nAnswer: ", "r\nAnswer: 1\nmore", "Answer: 1"]
)
def test_malformed_solutions_have_no_parts(text: str) -> None:
    assert formats.parse_solution(text) is None


@given(st.text())
def test_any_text_can_be_parsed(text: str) -> None:
    formats.parse_solution(text)
    formats.parse_synthesis(text)
