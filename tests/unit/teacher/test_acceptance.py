"""What is taught of a teacher's text, as sequence-level distillation and Fine-tune-CoT have it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from baldistill.config.loading import load_config
from baldistill.records import AnnotatedExample, Example
from baldistill.teacher.acceptance import Acceptance
from baldistill.teacher.parsing import target_text
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.question import Answer

EXAMPLE = Example("e", "d", "What is 3.50 plus 3.50?", answer="9")  # a gold answer that is wrong


def acceptance(method: str, task: str = "math") -> Acceptance:
    config = load_config(None, [f"data.task={task}"], method)
    return Acceptance(config, load_prompts("compact", model="bundled"))


def taught(text: str, example: Example = EXAMPLE, task: str = "math") -> AnnotatedExample | str:
    """The row that `seq-kd` teaches of a stored completion, or why it is rejected."""
    rules, answer = acceptance("seq-kd", task), Answer("r", "answered", text)
    fault = rules.fault(example, answer)
    return fault or rules.accepted(example, answer, rules.read(example, answer).conclusion, 1)


@pytest.mark.parametrize(
    "steps",
    [
        "3.50 + 3.50 = 7.00.",
        "First  two blanks,\tthen a tab, \na blank at the end of a line,\n\n\nand empty lines.",
        "* **Half** of $\\frac{14}{1}$ is `7`;\r\n* «7» \u2212 not \u00bd\u00a0\U0001f600e\u0301.",
        "Given: 3.50 twice.\n## Solution: 3.50 + 3.50 = 7.00.\n## Check: 7.00 - 3.50 = 3.50.",
        "Answer: 8? No.\nAnswer of the sum:\n3.50 + 3.50 = 7.00, so the answer is 7.",
    ],
)
@pytest.mark.parametrize("last", ["Answer: $7.00", "**Answer: 7**\n\nI hope this helps!"])
def test_sequence_level_distillation_teaches_the_steps_byte_for_byte(steps: str, last: str) -> None:
    text = f"{steps}\n{last}"
    row = taught(text)
    assert isinstance(row, AnnotatedExample)
    assert row.rationale is not None
    written = text.encode()
    assert row.rationale.encode() == written[: written.rindex(b"\n", 0, written.rindex(b"7"))]
    assert row.answer == "7", "the teacher's conclusion, in the form of the domain's answers"
    assert target_text(row.rationale, row.answer) == f"{steps}\nAnswer: 7"
    assert row.verified is None, "no gold answer was looked at"


def test_the_conclusion_has_the_form_of_the_domains_answers() -> None:
    chosen = Example("e", "d", "Which?", "A", choices=["red", "blue"])
    row = taught("As the sky is.\nAnswer: (b)", chosen, "multiple_choice")
    assert isinstance(row, AnnotatedExample)
    assert row.answer == "B"
    row = taught("Blanks around the steps and their heading are left out.\n\nAnswer: New York.  ")
    assert isinstance(row, AnnotatedExample)
    assert row.rationale == "Blanks around the steps and their heading are left out."
    row = taught("\nRationale: It is large.\nAnswer: New York", task="qa")
    assert isinstance(row, AnnotatedExample)
    assert (row.rationale, row.answer) == ("It is large.", "New York")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("I cannot say.", "no conclusion"),
        ("3.50 + 3.50 = 7.00.\nAnswer:", "no conclusion"),
        ("Answer: 7", "empty rationale"),
        ("", "empty rationale"),
    ],
)
def test_without_steps_or_conclusion_nothing_is_taught(text: str, fault: str) -> None:
    assert taught(text) == fault


def test_a_conclusion_without_an_answer_line_gets_one() -> None:
    row = taught("3.50 + 3.50 = 7.00. So the answer is 7.")
    assert isinstance(row, AnnotatedExample)
    assert target_text(row.rationale, row.answer) == (
        "3.50 + 3.50 = 7.00. So the answer is 7.\nAnswer: 7"
    )


def select_samples(completions: list[dict[str, str]]) -> list[dict[str, str]]:
    """Fine-tune-CoT's rule with `only_correct=True` (Ho et al. 2022, `completion_dataset.py`).

    A completion of a question is kept if and only if the answer extracted from it equals the gold
    answer. Of numbers that is the first one behind the answer's prefix, without commas, within 1e-6
    (its evaluator for AddSub, SVAMP and SingleEq); of choices the first letter there.
    """
    kept = []
    for completion in completions:
        _, _, answer = completion["completion"].rpartition("Answer:")
        if completion["kind"] == "letter":
            found = re.findall("[ABCDE]", answer)
            right = bool(found) and found[0] == completion["answer"]
        else:
            numbers = re.findall(r"-?\d+(?:\.\d+)?", answer.replace(",", ""))
            gold = float(completion["answer"].replace(",", ""))
            right = bool(numbers) and abs(float(numbers[0]) - gold) <= 1e-6
        if right:
            kept.append(completion)
    return kept


def completions_of(kind: str, question: str, gold: str, answers: list[str]) -> list[dict[str, str]]:
    steps = ("So", "Counting 3 and 9", "Step by step, 12")
    return [
        {
            "kind": kind,
            "question": question,
            "answer": gold,
            "completion": f"{steps[number % 3]} ({number}).\nAnswer: {answer}",
        }
        for number, answer in enumerate(answers)
    ]


TABLE = [
    *completions_of("number", "Apples?", "12", ["12", "12 apples", "21", "12.0", "-12", "1.2"]),
    *completions_of("number", "Debt?", "-3", ["-3", "3", "-3.00 dollars", "-4"]),
    *completions_of(
        "number", "Cost?", "1,250.5", ["$1,250.50", "1250.5", "1,250", "12505", "none"]
    ),
    *completions_of("number", "Rest?", "0", ["0", "no rest", "10", "0.0"]),
    *completions_of("letter", "Which?", "B", ["B", "(B)", "A", "C) blue", "B) red", "none"]),
]


def test_fine_tune_cot_accepts_what_the_published_rule_selects() -> None:
    accepted = []
    for number, row in enumerate(TABLE):
        is_letter = row["kind"] == "letter"
        rules = acceptance("fine-tune-cot", "multiple_choice" if is_letter else "math")
        choices = ["green", "red", "blue"] if is_letter else None
        example = Example(f"e-{row['question']}", "d", row["question"], row["answer"], choices)
        assert (rules.config.rationale.sees, rules.config.rationale.accept) == ("question", "gold")
        if rules.fault(example, Answer(str(number), "answered", row["completion"])) is None:
            accepted.append(row)
    assert accepted == select_samples(TABLE)
    by_question = Counter(row["question"] for row in accepted)
    assert by_question == {"Apples?": 3, "Debt?": 2, "Cost?": 2, "Rest?": 2, "Which?": 3}


def test_fine_tune_cot_differs_where_there_is_no_rationale() -> None:
    """A right answer without a step is kept by the published rule; here it would teach nothing."""
    (row,) = select_samples([completions_of("number", "Apples?", "12", ["12"])[0]])
    bare = Answer("r", "answered", row["completion"].rpartition("\n")[2])
    rules = acceptance("fine-tune-cot")
    assert rules.fault(Example("e", "d", "Apples?", "12"), bare) == "empty rationale"
