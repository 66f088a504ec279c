"""Parts of users where the config names them: selection scores and filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BeforeValidator, Discriminator, Tag

from baldistill.config.sections import OWN_PART, use_as_section
from baldistill.core.own_filter import OwnFilter
from baldistill.core.own_parts import FILTERS, SCORES, is_own
from baldistill.core.own_score import OwnScore
from baldistill.masking import masked_start

use_as_section(OwnScore, OwnFilter)

_SCORES: Final = ("ifd", "loss_ratio", "perplexity", "wrong", "disagreement", "random")


def _score_shorthand(value: Any) -> Any:
    """Let a name stand for a user's score, and refuse names of none."""
    if isinstance(value, Mapping) and value.get("kind") in _SCORES:
        if len(value) > 1:
            raise ValueError(f"{value['kind']} has no options: its own stand beside `metric`")
        return value["kind"]
    if not isinstance(value, str) or value in _SCORES:
        return value
    if not is_own(value, SCORES):
        raise ValueError(
            f"must be {', '.join(_SCORES)}, or one of your own as package.module:Name, not "
            f"{masked_start(repr(value))}"
        )
    return {"kind": value}


ScoreConfig: TypeAlias = Annotated[
    Annotated[str, Tag("name")] | Annotated[OwnScore, Tag(OWN_PART)],
    Discriminator(lambda value: "name" if isinstance(value, str) else OWN_PART),
    BeforeValidator(_score_shorthand),
]
"""A selection score: a known name, or a user's."""


def _filter_shorthand(value: Any) -> Any:
    """Let a name stand for a user's filter, and refuse names of none."""
    if not isinstance(value, str):
        return value
    if not is_own(value, FILTERS):
        raise ValueError(
            f"must be one of your own as package.module:Name, not {masked_start(repr(value))}"
        )
    return {"kind": value}


FilterConfig: TypeAlias = Annotated[OwnFilter | None, BeforeValidator(_filter_shorthand)]
"""A user's filter; none by default."""
