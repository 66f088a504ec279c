from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.answers import extract
from baldistill.teacher.parsing import (
    EXAMPLE_SCHEMA,
    NewExample,
    Solution,
    parse_new_example,
    parse_solution,
    target_text,
    without_thoughts,
)

PIECES = st.sampled_from(
    ["Question:", "New question:", "Rationale:", "Answer:", "**", "\n", " ", "# ", "2", "x", ":"]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join))
LINE = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@given(TEXTS)
def test_no_text_raises(text: str) -> None:
    solution = parse_solution(text)
    assert solution.rationale == solution.rationale.strip()
    assert solution.conclusion is None or solution.conclusion
    example = parse_new_example(text)
    assert example is None or (example.question and example.rationale and example.answer)


@given(LINE, LINE)
def test_the_students_target_is_read_back(rationale: str, answer: str) -> None:
    text = target_text(f"So {rationale}.", answer)
    assert parse_solution(text) == Solution(f"So {rationale}.", answer)
    assert extract("free_text", text) == answer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>\nAnswer: 6?\n</think>\n\n3+4=7.\nAnswer: 7", "\n\n3+4=7.\nAnswer: 7"),
        ("Answer: 6?\n</think>\n3+4=7.\nAnswer: 7", "\n3+4=7.\nAnswer: 7"),  # <think> in the prompt
        ("\n<think>Is it 6? Answer: 6", ""),  # cut off in its thoughts
        (
            "One writes <think> for a thought.\nAnswer: 7",
            "One writes <think> for a thought.\nAnswer: 7",
        ),
        ("", ""),
    ],
)
def test_thoughts_are_no_part_of_what_is_said(text: str, said: str) -> None:
    assert without_thoughts(text) == said


def test_without_a_rationale_the_target_is_the_answer() -> None:
    assert target_text(None, "7") == "Answer: 7"
    assert parse_solution("Answer: 7") == Solution("", "7")


@pytest.mark.parametrize(
    ("text", "rationale", "conclusion"),
    [
        ("3+4=7.\nAnswer: 7", "3+4=7.", "7"),
        ("Answer: 6? No.\n3+4=7.\nAnswer: 7", "Answer: 6? No.\n3+4=7.", "7"),  # the last one
        ("**Rationale:** 3+4=7.\n\n**Answer:** 7", "3+4=7.", "7"),
        ("\n\nSolution:\n3+4=7.\nAnswer: 7", "3+4=7.", "7"),
        ("Known: 3, 4.\nReasoning: 3+4=7.\nAnswer: 7", "Known: 3, 4.\nReasoning: 3+4=7.", "7"),
        ("3+4=7.\n**Answer: 7**", "3+4=7.", "7"),
        ("3+4=7.\n**Answer**: 7\n\nI hope this helps!", "3+4=7.", "7"),
        ("3+4=7.\n### Final answer: 7", "3+4=7.", "7"),
        ("So it is 7.", "So it is 7.", None),
        ("3+4=7.\nAnswer:", "3+4=7.", None),
        ("", "", None),
    ],
)
def test_solutions(text: str, rationale: str, conclusion: str | None) -> None:
    assert parse_solution(text) == Solution(rationale, conclusion)


EXAMPLE = NewExample("What is 3 plus 4?", "3+4=7.", "7")


@pytest.mark.parametrize(
    "text",
    [
        "Question: What is 3 plus 4?\n3+4=7.\nAnswer: 7",  # the bundled teacher's
        "Question: What is 3 plus 4?\nRationale: 3+4=7.\nAnswer: 7",
        "**Question:** What is 3 plus 4?\n\n**Rationale:** 3+4=7.\n\n**Answer:** 7",
        "**Question**: What is 3 plus 4?\n**Solution**: 3+4=7.\n**Answer**: 7",
        "### Question: What is 3 plus 4?\n### Reasoning: 3+4=7.\n### Final answer: 7",
        "New question: What is 3 plus 4?\nRationale: 3+4=7.\nAnswer: 7",
        "Sure! Here is one:\n\nQuestion: What is 3 plus 4?\nRationale: 3+4=7.\nAnswer: 7\n\nBye.",
        "Question:\nWhat is 3 plus 4?\nRationale:\n3+4=7.\nAnswer: 7",
        "Question: What is 3 plus 4?\n3+4=7.\nAnswer: 7\nQuestion: What is 1 plus 1?\n1\nAnswer: 2",
    ],
)
def test_new_examples(text: str) -> None:
    assert parse_new_example(text) == EXAMPLE


def test_a_question_may_have_several_lines_when_the_rationale_is_marked() -> None:
    text = "Question: Which?\nA) 1\nB) 2\nRationale: Two.\nAnswer: B"
    assert parse_new_example(text) == NewExample("Which?\nA) 1\nB) 2", "Two.", "B")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is 3 plus 4?\n3+4=7.\nAnswer: 7",
        "Question: What is 3 plus 4?",
        "Question: What is 3 plus 4?\nAnswer: 7",
        "Question: What is 3 plus 4?\n3+4=7.",
        "Question: What is 3 plus 4?\n3+4=7.\nAnswer:",
        "Question:\nRationale: 3+4=7.\nAnswer: 7",
    ],
)
def test_an_example_without_all_its_parts_is_none(text: str) -> None:
    assert parse_new_example(text) is None


@given(LINE, LINE, LINE)
def test_a_new_example_may_be_json(question: str, rationale: str, answer: str) -> None:
    values = {"question": question, "rationale": rationale, "answer": answer}
    text = json.dumps(values)
    expected = NewExample(question, rationale, answer)
    assert parse_new_example(text) == expected
    assert parse_new_example(f"```json\n{text}\n```") == expected
    assert list(json.loads(EXAMPLE_SCHEMA)["properties"]) == list(values)


@pytest.mark.parametrize(
    "text",
    [
        '{"question": "q", "rationale": "r"',
        '{"question": "q", "rationale": "r"}',
        '{"question": "q", "rationale": "r", "answer": ""}',
        '{"question": "q", "rationale": "r", "answer": 3}',
        '{"question": "q\\ud800", "rationale": "r", "answer": "3"}',  # no table could hold it
        "{[",
        '{"a":' * 5000,
    ],
)
def test_json_that_is_cut_or_lacks_a_part_is_no_example(text: str) -> None:
    assert parse_new_example(text) is None
