"""Notes on the reading of a corpus, where it is more than columns of question, answer and domain.

`baldistill data describe`, `baldistill plan` and the report show them. They are made of the values
of a config, not of a validated one, so that the report of another version's run has them, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def corpus_notes(data: Mapping[str, Any], *, several_answers: bool) -> list[str]:
    """Return notes on questions, gold answers and domains; none where columns hold them plainly.

    Args:
        data: The values of the config's key `data`.
        several_answers: Whether rows have more than one acceptable gold answer.
    """
    columns = data.get("columns") or {}
    notes = (
        _from_chats(columns),
        _several_answers(columns) if several_answers else None,
        _made_domains(data.get("domains") or {}),
    )
    return [note for note in notes if note]


def _from_chats(columns: Mapping[str, Any]) -> str | None:
    """Say which turns of a chat are questions and gold answers, where chats hold them."""
    chats = columns.get("messages")
    if chats is None:
        return None
    if columns.get("each_turn"):
        return (
            f"questions are all turns of the user that the assistant answers in the chats of "
            f"`{chats}`, and its answers are the gold ones; all turns before are their context "
            "(data.columns.each_turn)"
        )
    gold = ", and the gold answer is what the assistant says to it"
    return (
        f"questions are the last turn of the user in each chat of `{chats}`"
        f"{gold if columns.get('answer') == chats else ''}; earlier turns are their context "
        "(data.columns.messages)"
    )


def _several_answers(columns: Mapping[str, Any]) -> str:
    """Say which of several gold answers counts."""
    in_training = columns.get("answer") not in (None, columns.get("messages"))
    key = "answer" if in_training else "evaluation_answer"
    return (
        "some rows have several acceptable answers: any of them counts, and the first is the one "
        f"that is shown or learnt (data.columns.{key})"
    )


def _made_domains(domains: Mapping[str, Any]) -> str | None:
    """Say where domains come from, where `data.domains` makes them."""
    if domains.get("clusters"):
        return "domains are clusters of the questions by their words (data.domains.clusters)"
    if domains.get("names"):
        return (
            "domains are named by the user, and a classifier sorted questions as the teacher did a "
            "sample (data.domains.names)"
        )
    if domains.get("bins"):
        return (
            "domains are bins of questions, by how likely a small model finds them "
            "(data.domains.by=likelihood)"
        )
    if not (column := domains.get("by")):
        return None
    if domains.get("pattern"):
        return f"domains are found in `{column}` by data.domains.pattern (data.domains.by)"
    return f"domains are the values of `{column}` (data.domains.by)"
