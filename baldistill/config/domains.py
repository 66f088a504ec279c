"""The part of the config that says how domains are made, where no column holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from baldistill.config.sections import Section
from baldistill.core.answer_text import fold

DomainName: TypeAlias = Annotated[str, Field(max_length=100, pattern=r"^\S(.*\S)?$")]
Description: TypeAlias = Annotated[str, Field(max_length=500)]
_MOST_NAMES = 256

LIKELIHOOD = "likelihood"
"""The value of `domains.by` that is no column."""


def _without_descriptions(value: Any) -> Any:
    """Let a list of names stand for names without descriptions."""
    if isinstance(value, list | tuple):
        if odd := [name for name in value if not isinstance(name, str)]:
            raise ValueError(f"{odd[0]!r} is no text: put names that look like values into quotes")
        if twice := [name for name in value if value.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is named twice")
        return dict.fromkeys(value, "")
    if isinstance(value, Mapping):
        return {name: "" if about is None else about for name, about in value.items()}
    return value


NAMED_ROWS = 500
"""Questions that the teacher is asked about by default, where domains are named."""


class DomainsConfig(Section):
    """Ways to make domains where no column holds them: `clusters`, `names`, or `by` a column."""

    added: ClassVar[frozenset[str]] = frozenset({"names", "sample"})

    clusters: Annotated[int, Field(ge=2, le=256)] | Literal["auto"] | None = None
    """Groups of questions by their words (TF-IDF and k-means on a seeded sample), at most so many;
    `auto` keeps apart what has few words in common, from 2 to 64."""
    names: Annotated[
        dict[DomainName, Description] | None,
        BeforeValidator(
            _without_descriptions,
            json_schema_input_type=list[DomainName] | dict[DomainName, Description | None] | None,
        ),
    ] = None
    """Names of 2 to 256 domains, as a list, or each with a description (`{billing: invoices and
    refunds}`). The teacher says which of them each question of a seeded `sample` is of. From that a
    classifier of words (TF-IDF and logistic regression) learns to sort all others."""
    sample: Annotated[int, Field(ge=20, le=5000)] = NAMED_ROWS
    """Of `names`: questions that the teacher is asked about, at most; one call each, and one more
    for an answer that names no domain."""
    by: str | None = None
    """A column that `pattern` finds the domain in; it may be mapped as something else, too. Or
    `likelihood`: how likely `model` finds the question among those of its length."""
    pattern: str | None = None
    """A regular expression (Python's): its first group, or all that it matches, is the domain.
    Rows in which it is not found are quarantined."""
    bins: Annotated[int, Field(ge=2, le=100)] | None = None
    """Of `by: likelihood`: domains of about the same size, from the most likely questions on."""
    model: str | None = None
    """Of `by: likelihood`: hub id, path or URI of a small causal language model; `bundled` is the
    student inside the package. It runs on CPUs, in Ray Data tasks."""

    @model_validator(mode="after")
    def _one_way(self) -> DomainsConfig:
        if sum(way is not None for way in (self.clusters, self.names, self.by)) != 1:
            raise ValueError("give one of clusters, names and by, such as {clusters: auto}")
        if self.names is None and self.sample != NAMED_ROWS:
            raise ValueError("sample is for names: give names, or leave it out")
        if self.by == LIKELIHOOD:
            self._check_likelihood()
        elif self.bins is not None or self.model is not None:
            raise ValueError("bins and model are for by: likelihood")
        if self.pattern is not None and self.by is None:
            raise ValueError("pattern needs a column to look in: give by, too")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        return self

    def _check_likelihood(self) -> None:
        """Say which key is missing, with a value to give it."""
        # the bundled student is no default: it knows the words of the bundled corpus alone
        examples = {
            "bins": "data.domains.bins=8",
            "model": "data.domains.model=HuggingFaceTB/SmolLM2-135M, or any small causal language "
            "model (bundled knows the words of the bundled corpus alone)",
        }
        if missing := [f"set {how}" for key, how in examples.items() if getattr(self, key) is None]:
            raise ValueError(f"by: likelihood needs bins and model: {'; '.join(missing)}")
        if self.pattern is not None:
            raise ValueError("by: likelihood takes no pattern: leave pattern out")

    @field_validator("names")
    @classmethod
    def _told_apart(cls, names: dict[str, str] | None) -> dict[str, str] | None:
        """Refuse names that an answer of the teacher could not be told apart by."""
        if names is None:
            return None
        if not 2 <= len(names) <= _MOST_NAMES:
            raise ValueError(f"{len(names)} names: give 2 to {_MOST_NAMES}")
        read: dict[str, str] = {}
        for name in names:
            if not (folded := fold(name)):
                raise ValueError(f"{name!r} has no letter or figure to tell it by")
            if folded in read:
                raise ValueError(f"{read[folded]!r} and {name!r} are read as the same name")
            read[folded] = name
        return names
