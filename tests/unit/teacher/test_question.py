"""The identity of a teacher call, and the bound of its prompt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.generation.types import Message, Prompt, Sampling, max_prompt_tokens
from baldistill.teacher.question import Question, request_id_of

TEXT = "What is 3 plus 4?"
CHAT = (Message("system", "Be brief."), Message("user", "café?"))
GREEDY = Sampling(20)
SAMPLED = Sampling(20, 0.7, 0.9, '{"type": "object"}')


@pytest.mark.parametrize(
    ("prompt", "sampling", "request_id"),
    [
        (TEXT, GREEDY, "98028a2ac14b1edf0a29c84e5d26085c"),
        (TEXT, SAMPLED, "8f82ea7592fba32adfffac26387b1576"),
        (CHAT, GREEDY, "ac8f401857bb8a699f837994f093b868"),
        (CHAT, SAMPLED, "a1bf25cfba0f045f4dc09eb12b1eca22"),
    ],
)
def test_request_ids_never_change(prompt: Prompt, sampling: Sampling, request_id: str) -> None:
    """Stores of answers that were paid for are found by them."""
    question = Question(prompt, "rationale", "sums", attempt=2)
    assert request_id_of(question, ("transformers", "one"), sampling) == request_id


def test_what_only_the_ledger_wants_to_know_is_no_part_of_the_id() -> None:
    one = Question(TEXT, "rationale", "sums", units=1)
    other = Question(TEXT, "verification", "months", units=0)
    identity = ("transformers", "one")
    assert request_id_of(one, identity, GREEDY) == request_id_of(other, identity, GREEDY)


@given(text=st.text())
def test_a_prompt_has_no_more_tokens_than_bytes(text: str) -> None:
    chat = (Message("system", text), Message("user", text))
    num_bytes = len(text.encode("utf-8", "surrogatepass"))
    assert max_prompt_tokens(text, GREEDY) - max_prompt_tokens("", GREEDY) == num_bytes
    assert max_prompt_tokens(chat, GREEDY) - max_prompt_tokens("", GREEDY) == 2 * num_bytes
    assert max_prompt_tokens(text, SAMPLED) > max_prompt_tokens(text, GREEDY)
