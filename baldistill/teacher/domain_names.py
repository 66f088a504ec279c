"""The teacher sorts questions into domains that the user named (`data.domains.names`).

A call each, of purpose `domain`, at temperature 0. An answer that names none of the domains is
asked for once more, at a temperature above 0; if that names none either, the question is left
unsorted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from baldistill.core.answer_text import fold, marked_answer
from baldistill.errors import DataError, UserError
from baldistill.teacher.question import RETRY_TEMPERATURE, Answer, Question
from baldistill.teacher.teacher import Teacher
from baldistill.visible import visible

_MARKDOWN = " \t\n*_#>-\u2022"
_LABEL = re.compile(r"^(?:the[ \t]+)?domain[ \t*_]*(?::|is)", re.IGNORECASE)
_ALL = "all domains"  # whose the call is, for the ledger
NO_DOMAIN = "names no domain"
_SHOWN_CHARS = 200


def ask_domains(
    questions: Sequence[str],
    names: Mapping[str, str],
    teacher: Teacher,
    on_answers: Callable[[int], None] | None = None,
) -> list[str | None]:
    """Return the domain that the teacher finds each question in; None where it named none.

    An answer in the store costs nothing.

    Args:
        questions: To sort.
        names: Of the domains, each with a description or an empty text.
        teacher: Who is asked.
        on_answers: Called with the number of first answers that have come.

    Raises:
        UserError: A cap refused a call.
        DataError: No answer at all names a domain.
    """
    read = {fold(f"{name}: {about}"): name for name, about in names.items()}
    read |= {fold(name): name for name in names}
    answers = _ask(questions, names, teacher, 0, on_answers)
    found = [read_name(answer, read) for answer in answers]
    again = [number for number, name in enumerate(found) if name is None]
    if again:
        _reject(teacher, [answers[number] for number in again])
        asked = _ask([questions[number] for number in again], names, teacher, 1, None)
        _reject(teacher, [answer for answer in asked if read_name(answer, read) is None])
        for number, answer in zip(again, asked, strict=True):
            found[number] = read_name(answer, read)
    if not any(found):
        raise DataError(
            f"the teacher named none of data.domains.names for any of {len(questions):,} "
            f"questions. {_what_it_said(answers[0])}. To do: ask a model that follows "
            "instructions, or give it more room (teacher.rationale.max_new_tokens)"
        )
    return found


def read_name(answer: Answer, read: Mapping[str, str]) -> str | None:
    """Return the domain that an answer names; None if it names none of them.

    The name stands alone, or in the last line, by itself or after `Answer:`. Case, quotes and
    Markdown around it do not count. An answer that was cut off may have lost the end of a name.

    Args:
        answer: Of the teacher.
        read: The names by how `fold` reads them.
    """
    lines = [line for line in answer.text.split("\n") if line.strip()]
    if answer.cut or not lines:
        return None
    stated = marked_answer(answer.text) or ""
    tries = [f(text) for text in (answer.text, lines[-1], stated) for f in (fold, _bare)]
    return next((read[name] for name in tries if name in read), None)


def _bare(text: str) -> str:
    """Fold a text without Markdown around it, and without `Domain:` before it."""
    return fold(_LABEL.sub("", text.strip(_MARKDOWN)).strip(_MARKDOWN))


def _ask(
    questions: Sequence[str],
    names: Mapping[str, str],
    teacher: Teacher,
    attempt: int,
    on_answers: Callable[[int], None] | None,
) -> list[Answer]:
    listed = [{"name": name, "description": about} for name, about in names.items()]
    chosen = teacher.sampling(teacher.config.rationale, RETRY_TEMPERATURE if attempt else 0.0)
    answers = teacher.ask(
        (
            Question(
                teacher.prompts.render("domain", domain="", question=question, names=listed),
                "domain",
                _ALL,
                units=0,
                attempt=attempt,
            )
            for question in questions
        ),
        chosen,
        stage=0,
        on_answers=on_answers,
    )
    if refused := next((a.reason for a in answers if a.outcome == "refused"), None):
        raise UserError(
            f"the cap on {refused} is reached before the teacher has said the domains of all "
            f"{len(questions):,} questions: raise budget.{refused}, or lower data.domains.sample. "
            "Answers that came are not paid again in the same --run-dir"
        )
    return answers


def _reject(teacher: Teacher, answers: Sequence[Answer]) -> None:
    """Tell the ledger which answers name no domain, so that they are counted."""
    teacher.reject({a.request_id: NO_DOMAIN for a in answers if a.outcome == "answered"})


def _what_it_said(answer: Answer) -> str:
    said = answer.text or answer.failure or "nothing"
    return f"Its first answer: {visible(said[:_SHOWN_CHARS])}"
