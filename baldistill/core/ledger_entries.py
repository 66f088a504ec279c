"""The entries of the budget ledger (of four kinds), its caps and its prices.

Entries are facts in an append-only log. Each becomes a flat dictionary of JSON scalars, so that
any file format can hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypeAlias, get_args

Purpose: TypeAlias = Literal[
    "rationale",
    "vote",
    "synthesis",
    "verification",
    "evaluation",
    "judgement",
    "question",
    "domain",
]
"""Purpose of a teacher call: `vote` asks again what a `rationale` answered, for a majority;
`verification` does so with a new example; `evaluation` answers the evaluation set; `judgement`
judges a text by a rubric; `question` is a user's, at the prompt of `baldistill ask`; `domain` asks
which domain a question is of (`data.domains.names`)."""

_PURPOSES = frozenset(get_args(Purpose))


@dataclass(frozen=True, slots=True)
class Reserve:
    """Budget asked for before a teacher call.

    Attributes:
        request_id: Identity of the call.
        purpose: What the call is for.
        stage: The stage, from 1; 0 for the evaluation set, and for domains.
        domain: The domain the example is in.
        units: 1 when the answer is to become one of the B annotated examples, else 0.
        max_tokens: Upper bound on the call's prompt and completion tokens together. Token and
            cost caps hold only if this bound holds.
        prompt_tokens: The part of `max_tokens` that is prompt for certain: it makes the cost
            bound tighter if completion tokens cost more.
        calls: 0 when the answer is known to be in a shared store, or was recorded before, so that
            no call is made.
        tier: Which teacher of a cascade is asked, from 1; each tier has its own prices.
        call: Names this call, if whoever makes it notes the name durably just before. So a call
            without such a note was certainly not made. Empty where nobody takes notes.
    """

    kind: ClassVar[str] = "reserve"

    request_id: str
    purpose: Purpose
    stage: int
    domain: str
    units: int = 1
    max_tokens: int = 0
    prompt_tokens: int = 0
    calls: int = 1
    tier: int = 1
    call: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError on figures that describe no call."""
        if self.purpose not in _PURPOSES:
            raise ValueError(f"purpose must be one of {sorted(_PURPOSES)}, not {self.purpose!r}")
        if self.units not in (0, 1) or self.calls not in (0, 1):
            raise ValueError(f"units and calls must be 0 or 1, not {self.units} and {self.calls}")
        if self.tier < 1:
            raise ValueError(f"tiers count from 1, not {self.tier}")
        if not 0 <= self.prompt_tokens <= self.max_tokens:
            raise ValueError(
                f"prompt_tokens {self.prompt_tokens} must be between 0 and"
                f" max_tokens {self.max_tokens}"
            )


@dataclass(frozen=True, slots=True)
class Settle:
    """The true usage of a call, known with its response.

    Attributes:
        request_id: Identity of the call.
        prompt_tokens: Tokens read by the teacher.
        completion_tokens: Tokens written by the teacher.
        reused: The answer came from a shared store or a recording: no call was made and no token
            counts.
    """

    kind: ClassVar[str] = "settle"

    request_id: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reused: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError on negative tokens, and on what is no whole number, such as NaN."""
        for count in (self.prompt_tokens, self.completion_tokens):
            if type(count) is not int or count < 0:
                raise ValueError(f"tokens must be whole numbers, and not negative: {self}")


@dataclass(frozen=True, slots=True)
class Reject:
    """The answer did not become an annotated example.

    Attributes:
        request_id: Identity of the call.
        reason: Why, as one of a few fixed words that can be counted.
    """

    kind: ClassVar[str] = "reject"

    request_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """A reserved call was certainly not charged for: it was not made, or the server refused it.

    Attributes:
        request_id: Identity of the request.
        call: Which call for it; empty for the one with the smallest bound.
    """

    kind: ClassVar[str] = "release"

    request_id: str
    call: str = ""


@dataclass(frozen=True, slots=True)
class Own:
    """From here on another process writes the log. It changes nothing in the budget.

    Attributes:
        run: Identity of the run: of one start, until it ends.
        process: Identity of the process, of which a run may have several, one after another.
    """

    kind: ClassVar[str] = "own"

    run: str
    process: str


Entry: TypeAlias = Reserve | Settle | Reject | Release | Own

_KINDS: dict[str, type[Reserve | Settle | Reject | Release | Own]] = {
    entry.kind: entry for entry in (Reserve, Settle, Reject, Release, Own)
}


def to_record(entry: Entry) -> dict[str, str | int | bool]:
    """Return the entry as a flat, JSON-ready dictionary with its `kind`."""
    fields = {name: getattr(entry, name) for name in entry.__slots__}
    if not fields.get("call", True):
        del fields["call"]
    return {"kind": entry.kind} | fields


def from_record(record: Mapping[str, Any]) -> Entry:
    """Read what `to_record` wrote; the fields of other kinds may be there as None.

    Raises:
        ValueError: The kind is unknown, or a field is missing or not allowed.
    """
    entry = _KINDS.get(record.get("kind", ""))
    if entry is None:
        raise ValueError(f"not a ledger entry: kind {record.get('kind')!r} is none of {[*_KINDS]}")
    names = {field.name for field in fields(entry)}
    given = {name: record[name] for name in names if record.get(name) is not None}
    try:
        return entry(**given)
    except TypeError as error:
        raise ValueError(f"incomplete ledger entry {dict(record)}: {error}") from error


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that may be spent; None is no cap.

    Attributes:
        examples: Annotated examples, the paper's budget B.
        calls: Teacher calls.
        tokens: Prompt and completion tokens together.
        cost: Money, in the currency of the prices.
    """

    examples: int | None = None
    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError on a negative cap."""
        for field in fields(self):
            cap = getattr(self, field.name)
            if cap is not None and not cap >= 0:
                raise ValueError(f"the cap on {field.name} must be 0 or more, not {cap}")


@dataclass(frozen=True, slots=True)
class Prices:
    """A teacher's prices, in any one currency; by default a teacher costs nothing."""

    prompt_per_million: float = 0.0
    """Price of a million prompt tokens, 0 or more."""
    completion_per_million: float = 0.0
    """Price of a million completion tokens, 0 or more."""

    def __post_init__(self) -> None:
        """Raise ValueError on a negative price."""
        if not (self.prompt_per_million >= 0 and self.completion_per_million >= 0):
            raise ValueError(
                "prices must be 0 or more, not prompt_per_million="
                f"{self.prompt_per_million} and completion_per_million="
                f"{self.completion_per_million}"
            )
