"""Recorded new examples as questions to the teacher that recorded them.

So a recorded example goes through ledger and store as a written one does, and its request id says
which one it is: in a run, none is asked for twice.
"""

from __future__ import annotations

import json

from baldistill.generation.types import Sampling, Subject
from baldistill.records import RecordedExample
from baldistill.teacher.question import Question, request_id_of

RECORDED_SAMPLING = Sampling(max_new_tokens=0)
"""Part of the request ids; no option of the teacher's changes what was recorded."""


def recorded_question(example: RecordedExample) -> Question:
    """Return the question whose answer is a recorded example.

    The answer's text is its prompt, too: an example that is changed in the recording is another
    request, in every run that shares the store.
    """
    values = {
        "question": example.question,
        "rationale": example.rationale,
        "answer": example.answer,
    }
    text = json.dumps(values, ensure_ascii=False)
    # or all that stands before it would be taken for the thoughts of a model
    text = text.replace("</think>", "\\u003c/think>")
    subject = Subject("", example.question, recorded=text)
    return Question(text, "synthesis", example.domain, attempt=example.number, subject=subject)


def recorded_id(question: Question, identity: tuple[str, str]) -> str:
    """Return the request id of a recorded example; `identity` is the teacher's."""
    return request_id_of(question, identity, RECORDED_SAMPLING)
