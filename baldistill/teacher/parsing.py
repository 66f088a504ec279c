"""Parse what a teacher wrote. No function here raises, whatever the text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from baldistill.teacher.repair import repaired_object

_DECORATION = r"[ \t>*_#]*"  # of Markdown: headings, quotes, bold


def _marker(words: str) -> re.Pattern[str]:
    """Match the beginning of a line that has one of the words and a colon."""
    return re.compile(rf"^{_DECORATION}(?:{words})[ \t*_]*:[ \t*_]*", re.IGNORECASE | re.MULTILINE)


_QUESTION = _marker("(?:new[ \t]+)?question")
_RATIONALE = _marker("rationale|solution|reasoning")
_ANSWER = _marker("(?:the[ \t]+)?(?:final[ \t]+)?answer")


EXAMPLE_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            name: {"type": "string", "minLength": 1} for name in ("question", "rationale", "answer")
        },
        "required": ["question", "rationale", "answer"],
        "additionalProperties": False,
    }
)
"""JSON schema of a new example; in this order, so that the answer is written after its reasons."""

_HALF_PAIR = re.compile("[\ud800-\udfff]")
FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Solution:
    """A rationale and its conclusion; None if the teacher drew none."""

    rationale: str
    conclusion: str | None


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The thoughts of a model before its answer, if any; `cut` if they have no end."""

    text: str | None
    cut: bool = False


NO_THOUGHTS = Thoughts(None)


@dataclass(frozen=True, slots=True)
class NewExample:
    """An example that the teacher wrote; `repaired` if its JSON was malformed."""

    question: str
    rationale: str
    answer: str
    repaired: bool = False


def without_thoughts(text: str) -> str:
    """Return what a model that thinks aloud says after `</think>`.

    A model that was cut off in its thoughts says nothing. The opening `<think>` may be missing,
    because some chat templates write it into the prompt.
    """
    _, closing, said = text.partition("</think>")
    if closing:
        return said
    return "" if text.lstrip().startswith("<think>") else text


def thoughts_of(text: str) -> Thoughts:
    """Return what a model that thinks aloud says up to `</think>`; see `without_thoughts`."""
    thoughts, closing, _ = text.partition("</think>")
    opened = thoughts.lstrip().startswith("<think>")
    if not closing and not opened:
        return NO_THOUGHTS
    thoughts = thoughts.lstrip().removeprefix("<think>").strip()
    return Thoughts(thoughts or None, cut=not closing)


def parse_solution(text: str) -> Solution:
    r"""Split `{rationale}\nAnswer: {conclusion}` at its last `Answer:` line."""
    matches = list(_ANSWER.finditer(text))
    if not matches:
        return Solution(_without_marker(text), None)
    last = matches[-1]
    conclusion = text[last.end() :].partition("\n")[0].strip().strip("*").strip()
    return Solution(_without_marker(text[: last.start()]), conclusion or None)


def parse_new_example(text: str, *, cut: bool = False) -> NewExample | None:
    """Parse `Question: ... Rationale: ... Answer: ...`, or a JSON object with these three texts.

    Return None if one of them is missing. Without a `Rationale:` line the question is the first
    line, as small models write it. Text before the question is left out, and so is a second
    example. A malformed object is repaired (`repair.py`), if the answer was not `cut` off.
    """
    fenced = FENCE.match(text.strip())
    body = fenced.group(1) if fenced else text.strip()
    if body.startswith("{"):
        return _from_json(body) or (None if cut else _repaired(body))
    openings = list(_QUESTION.finditer(text))
    if not openings:
        return None if cut or "{" not in body else _repaired(body)
    end = openings[1].start() if len(openings) > 1 else len(text)
    body = text[openings[0].end() : end]
    marker = _RATIONALE.search(body)
    if marker is not None:
        question, rest = body[: marker.start()], body[marker.end() :]
    else:
        question, _, rest = body.strip().partition("\n")
    question, solution = question.strip(), parse_solution(rest)
    if not question or not solution.rationale or solution.conclusion is None:
        return None
    return NewExample(question, solution.rationale, solution.conclusion)


def _from_json(text: str) -> NewExample | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _of_values(value) if isinstance(value, dict) else None


def _repaired(text: str) -> NewExample | None:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        value = repaired_object(text)
        example = value and _of_values(value)
        return replace(example, repaired=True) if example else None
    return None  # well-formed, with other values than texts


def _of_values(value: Mapping[str, object]) -> NewExample | None:
    texts = [value.get(name) for name in ("question", "rationale", "answer")]
    if not all(isinstance(text, str) and text.strip() and _is_unicode(text) for text in texts):
        return None
    question, rationale, answer = (str(text).strip() for text in texts)
    return NewExample(question, rationale, answer)


def _is_unicode(text: str) -> bool:
    r"""Tell whether no half of a surrogate pair is in a text: JSON can spell one as `\ud800`."""
    return not _HALF_PAIR.search(text)


def _without_marker(text: str) -> str:
    """Return a rationale without the heading that it begins with; later ones are its own parts."""
    text = text.strip()
    heading = _RATIONALE.match(text)
    return text[heading.end() :].strip() if heading else text


def target_text(rationale: str | None, answer: str) -> str:
    """Return what the student learns to write: rationale and answer, or the answer alone."""
    return f"{rationale}\nAnswer: {answer}" if rationale else f"Answer: {answer}"
