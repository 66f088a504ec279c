"""Which new examples are taken, and in what form."""

from __future__ import annotations

import pytest

from baldistill.config.loading import validate
from baldistill.core.label_sets import Labels
from baldistill.teacher.judge import Judge
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.parsing import NewExample

NEWS = ("earn", "money-fx", "tin")
LABELS = Labels(
    {**dict.fromkeys(NEWS, NEWS), "films": ("bad", "good")}, {name: name for name in NEWS}
)
EVEN = "Which is even?\nA) 3\nB) four"


def judge(task: str, labels: Labels = LABELS) -> Judge:
    return Judge(validate({"data": {"task": task}}), labels)


def judged(task: str, domain: str, answer: str, question: str = "Why?") -> tuple[str, str | None]:
    """The answer as it is kept, and what is wrong with the example."""
    bench = judge(task)
    example = bench.read(f"Question: {question}\nRationale: So.\nAnswer: {answer}", domain)
    assert example is not None
    return example.answer, bench.fault(example, domain, ExistingQuestions(0.95))


@pytest.mark.parametrize(
    ("domain", "answer", "kept", "fault"),
    [
        ("earn", "earn", "earn", None),
        ("earn", "the topic is Earn.", "earn", None),
        ("tin", "earn", "earn", "another label"),
        ("tin", "copper", "copper", "no such answer"),
        ("films", "It is GOOD", "good", None),
        ("films", "bad", "bad", None),
        ("films", "earn", "earn", "no such answer"),
        ("other", "anything", "anything", None),  # its labels are not known
    ],
)
def test_labels(domain: str, answer: str, kept: str, fault: str | None) -> None:
    assert judged("classification", domain, answer) == (kept, fault)


def test_a_label_among_too_many_to_list_has_only_itself() -> None:
    bench = judge("classification", Labels({}, {"tin": "tin"}))
    known = ExistingQuestions(0.95)
    assert bench.fault(NewExample("Why?", "So.", "tin"), "tin", known) is None
    assert bench.fault(NewExample("Why?", "So.", "earn"), "tin", known) == "no such answer"


@pytest.mark.parametrize(
    ("question", "answer", "kept", "fault"),
    [
        (EVEN, "B", "B", None),
        (EVEN, "(B) four", "B", None),
        (EVEN, "four", "four", None),
        (EVEN, "C", "C", "no such answer"),
        (EVEN, "eight", "eight", "no such answer"),
        ("Which is even?", "B", "B", "no such answer"),
        ("Which is even?\nA) 4", "A", "A", "no such answer"),
    ],
)
def test_choices(question: str, answer: str, kept: str, fault: str | None) -> None:
    assert judged("multiple_choice", "quiz", answer, question) == (kept, fault)


def test_other_answers_are_kept_as_they_stand() -> None:
    assert judged("math", "sums", "12 apples") == ("12 apples", None)


def test_a_multiple_choice_question_is_verified_by_its_own_choices() -> None:
    bench = judge("multiple_choice")
    written = NewExample("Which is even?\nA) 3\nB) 4", "4 is.", "B")
    assert bench.agrees(written, "quiz", "4 is even.\nAnswer: 4")
    assert not bench.agrees(written, "quiz", "Answer: A")
    assert not bench.agrees(written, "quiz", "")


def test_a_label_is_verified_as_students_are_read() -> None:
    bench, written = judge("classification"), NewExample("Why?", "So.", "money-fx")
    assert bench.agrees(written, "money-fx", "It is about money-fx.")
    assert bench.agrees(written, "money-fx", "So.\nAnswer: the label money-fx")
    assert not bench.agrees(written, "money-fx", "Answer: tin")
