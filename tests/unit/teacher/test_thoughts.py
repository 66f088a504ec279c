"""What a teacher thought, from the text or from its server, as what the student learns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.config import Config
from baldistill.generation.openai.answer import completion_of
from baldistill.generation.types import Message, Request, Sampling
from baldistill.records import Example
from baldistill.teacher.acceptance import Acceptance
from baldistill.teacher.parsing import Thoughts, thoughts_of, without_thoughts
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.question import Answer

EXAMPLE = Example("e", "d", "What is 2 plus 2?", "4")
REQUEST = Request("r", (Message("user", "What is 2 plus 2?"),))
GREEDY = Sampling(max_new_tokens=50)


def acceptance(keep: str) -> Acceptance:
    rationale = {"sees": "question", "keep": keep}
    config = Config.model_validate({"rationale": rationale, "data": {"task": "math"}})
    return Acceptance(config, load_prompts("compact", model="bundled"))


def answered(text: str, *, cut: bool = False) -> Answer:
    """As a session makes an answer of a completion."""
    thoughts = thoughts_of(text)
    return Answer("r", "answered", without_thoughts(text), cut=cut, thoughts=thoughts)


def served(cut: bool = False, **message: Any) -> str:
    """The text that is stored of a server's answer."""
    choice = {"message": message, "finish_reason": "length" if cut else "stop"}
    return completion_of(REQUEST, GREEDY, {"choices": [choice]}, "").text


WHOLE = "<think>\nTwo and two ...\n</think>\n\nAdding.\nAnswer: 4"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        "Two and two ...</think>Adding.\nAnswer: 4",
        served(content="Adding.\nAnswer: 4", reasoning_content="Two and two ..."),
        served(content="Adding.\nAnswer: 4", reasoning="Two and two ...\n"),
    ],
)
def test_thoughts_or_the_steps_of_the_answer_are_kept(text: str) -> None:
    answer = answered(text)
    for keep, rationale in (("thoughts", "Two and two ..."), ("answer", "Adding.")):
        judge = acceptance(keep)
        assert judge.fault(EXAMPLE, answer) is None
        assert judge.accepted(EXAMPLE, answer, "4", 1).rationale == rationale


def test_thoughts_without_an_end_are_rejected_with_a_reason_of_their_own() -> None:
    for text in ("<think>Two and", served(cut=True, content=None, reasoning_content="Two and")):
        answer = answered(text, cut=True)
        assert acceptance("thoughts").fault(EXAMPLE, answer) == "thoughts cut off"
        assert not acceptance("thoughts").accepted(EXAMPLE, answer, None, 1).rationale
        assert acceptance("answer").fault(EXAMPLE, answer) == (
            "empty rationale, cut at max_new_tokens"
        )
    for text in ("Adding.\nAnswer: 4", "<think>\n\n</think>Adding.\nAnswer: 4"):
        assert acceptance("thoughts").fault(EXAMPLE, answered(text)) == "no thoughts"
        assert acceptance("answer").fault(EXAMPLE, answered(text)) is None


@given(st.text(), st.text(), st.booleans())
def test_what_a_server_gives_apart_does_not_change_the_answer(
    thoughts: str, said: str, cut: bool
) -> None:
    plain = served(cut, content=said)
    for name in ("reasoning_content", "reasoning"):
        text = served(cut, content=said, **{name: thoughts})
        assert without_thoughts(text).strip() == without_thoughts(plain).strip()


def test_thoughts_are_counted_where_a_server_does_not_count() -> None:
    message = {"content": "4", "reasoning_content": "Two and two and so on. " * 5}
    answer = {"choices": [{"message": message}]}
    alone = {"choices": [{"message": {"content": "4"}}]}
    with_thoughts, without = (completion_of(REQUEST, GREEDY, a, "") for a in (answer, alone))
    assert without.completion_tokens < with_thoughts.completion_tokens <= GREEDY.max_new_tokens


@given(st.text())
def test_any_text_has_thoughts_or_none(text: str) -> None:
    found = thoughts_of(text)
    assert isinstance(found, Thoughts)
    if found.cut:
        assert without_thoughts(text) == ""
