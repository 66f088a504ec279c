"""The exact texts that the bundled models read and write.

A model sees `bos + prompt + completion + eos`. Every prompt ends with a newline, where the
tokenizer always splits, so encoding prompt and completion apart or together gives the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from baldistill.bundled.questions import Example


def solve_prompt(question: str) -> str:
    """Return the prompt of the student, and of a teacher that solves a question unaided."""
    return f"Question: {question}\n"


def rationale_prompt(question: str, answer: str) -> str:
    """Return the prompt of a teacher that explains a known gold answer."""
    return f"Question: {question}\nGold answer: {answer}\n"


def solution(rationale: str, answer: str) -> str:
    """Return the completion of both prompts above, which is the target of the student."""
    return f"{rationale}\nAnswer: {answer}"


def synthesis_prompt(domain: str, demonstrations: Sequence[tuple[str, str]]) -> str:
    """Return the prompt of a teacher that writes a new question.

    Args:
        domain: Name of the domain.
        demonstrations: Up to three pairs of question and answer from that domain.
    """
    shown = "".join(f"Question: {q}\nAnswer: {a}\n" for q, a in demonstrations)
    return f"Domain: {domain}\n{shown}New question:\n"


def synthesis(example: Example) -> str:
    """Return the completion of a synthesis prompt."""
    return f"Question: {example.question}\n{solution(example.rationale, example.answer)}"


def parse_solution(text: str) -> tuple[str, str] | None:
    """Split a solution into rationale and answer; None if it is malformed."""
    rationale, separator, answer = text.rpartition("\nAnswer: ")
    return (rationale, answer) if separator and answer and "\n" not in answer else None


def parse_synthesis(text: str) -> tuple[str, str, str] | None:
    """Split a written question into question, rationale and answer; None if malformed."""
    question, _, rest = text.partition("\n")
    parsed = parse_solution(rest)
    if parsed is None or not question.startswith("Question: "):
        return None
    return question.removeprefix("Question: "), *parsed
