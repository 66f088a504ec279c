r"""Answers per task type: extraction from a response, equality with the gold answer.

A response in the student's target format is `{rationale}\nAnswer: {answer}`. Its last `Answer:`
line decides, even if it cannot be understood. A response without one is read as a careful person
would read it: "the answer is X", the last number, or the one choice that the conclusion names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from baldistill.core.answer_choices import (
    choice_of_answer,
    choice_of_text,
    choices_in,
    label_of_answer,
    label_of_text,
    lettered,
)
from baldistill.core.answer_math import (
    latex_equal,
    math_equal,
    math_of_answer,
    math_of_text,
)
from baldistill.core.answer_text import (
    first_line,
    fold,
    marked_answer,
    sentences,
    squad_normalise,
    stated_answer,
    word_f1,
)
from baldistill.core.own_task import is_own_task, own_equal, own_extract

__all__ = ["AnyTask", "Task", "equal", "extract", "marked_answer", "proper_answer", "word_f1"]

Task: TypeAlias = Literal["free_text", "multiple_choice", "classification", "math", "qa", "judged"]
AnyTask: TypeAlias = str
"""A `Task`, or what a user's own one is called (`core.own_task`)."""

_QUOTED = re.compile(r"[\"\u201c]([^\"\u201c\u201d]+)[\"\u201d]")


def extract(
    task: AnyTask, text: str, choices: Sequence[str] | None = None, question: str | None = None
) -> str | None:
    """Return the answer that a response gives, or None when it gives none.

    Args:
        task: The task type.
        text: The whole response, rationale included.
        choices: The choice texts of a multiple-choice question in order (the first is A), or the
            labels of a classification task.
        question: A multiple-choice question whose choices stand in it as lines `A) ...`; used
            when `choices` is not given.

    Returns:
        A capital letter (multiple choice), a label as given in `choices` (classification), a
        number or expression in canonical form (math), or text. Quotes and stops alone are no
        answer.
    """
    marked = marked_answer(text)
    match task:
        case "multiple_choice":
            by_letter = _choices(choices, question)
            if marked is not None:
                return choice_of_answer(first_line(marked), by_letter)
            return choice_of_text(text, by_letter)
        case "classification" if choices:
            if marked is not None:
                return label_of_answer(first_line(marked), choices)
            return label_of_text(text, choices)
        case "math":
            return math_of_text(text) if marked is None else math_of_answer(marked)
        case "classification":
            said = stated_answer(text) if marked is None else first_line(marked)
        case "qa":
            said = _answer_in_words(text) if marked is None else first_line(marked)
        case "judged":  # a text of any length
            said = text if marked is None else marked
        case "free_text":
            said = _stated_text(text) if marked is None else first_line(marked)
        case _ if is_own_task(task):
            return own_extract(task, text, choices, question)
        case _:
            raise ValueError(f"unknown task type {task!r}")
    return said.strip() if said and fold(said) else None


def proper_answer(
    task: AnyTask, answer: str, choices: Sequence[str] | None = None, question: str | None = None
) -> str | None:
    """Return a short answer in the form of a gold answer; None if the task does not allow it.

    Classification: the label as given in `choices`. Multiple choice: a choice's text if the answer
    is this text, else its letter; None without choices. Other tasks: the answer unchanged.
    `choices` and `question` are those of `extract`.
    """
    if task == "classification" and choices:
        return label_of_answer(answer, choices)
    if task != "multiple_choice":
        return answer if fold(answer) else None
    by_letter = _choices(choices, question)
    letter = choice_of_answer(answer, by_letter) if len(by_letter) > 1 else None
    if letter is not None and fold(by_letter[letter]) == fold(answer):
        return by_letter[letter]
    return letter


def equal(
    task: AnyTask,
    a: str | None,
    b: str | None,
    choices: Sequence[str] | None = None,
    question: str | None = None,
    *,
    latex_equal: Callable[[str, str], bool] = latex_equal,
) -> bool:
    """Return whether two answers are the same; None (no answer) equals nothing.

    Letters are compared for multiple choice, values for math, words for the rest (whether texts of
    the task `judged` are good, a judge decides: `teacher.rubric_judge`). `choices` and
    `question` are as in `extract`. If one is given, a letter equals its choice's text. Where math
    answers hold LaTeX, `latex_equal` decides: the default has no time limit, and
    `baldistill.equality` has one.

    Raises:
        ModuleNotFoundError: A math answer holds LaTeX and the extra `baldistill[math]` is not
            installed.
    """
    if a is None or b is None:
        return False
    match task:
        case "multiple_choice":
            by_letter = _choices(choices, question)
            one, other = (choice_of_answer(answer, by_letter) or fold(answer) for answer in (a, b))
            return one == other
        case "math":
            return math_equal(a, b, latex_equal)
        case "qa":
            return squad_normalise(a) == squad_normalise(b)
        case "classification" | "free_text" | "judged":
            return fold(a) == fold(b)
        case _ if is_own_task(task):
            return own_equal(task, a, b)
        case _:
            raise ValueError(f"unknown task type {task!r}")


def _choices(choices: Sequence[str] | None, question: str | None) -> dict[str, str]:
    return lettered(choices) if choices else choices_in(question or "")


def _stated_text(text: str) -> str | None:
    """Return the last quotation of the stated answer or else last sentence; else the answer."""
    stated = stated_answer(text)
    quoted = _QUOTED.findall(stated or (sentences(text) or [""])[-1])
    if quoted:
        return str(quoted[-1])
    return None if stated is None else stated.rstrip(".")


def _answer_in_words(text: str) -> str:
    """Return the stated answer, else the last sentence."""
    return stated_answer(text) or (sentences(text) or [""])[-1]
