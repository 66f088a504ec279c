"""What all parts of the config share: the base class, bounds, shorthands."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, with_config

Count: TypeAlias = Annotated[int, Field(ge=1)]
Share: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0)]


_RULES = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Section(BaseModel):
    """A part of the config: immutable, and without keys that it does not know."""

    model_config = _RULES


def use_as_section(*shapes: type[Any]) -> None:
    """Let pydantic read frozen dataclasses of `core` by the rules of a `Section`."""
    for shape in shapes:
        with_config(_RULES)(shape)


def kind_shorthand(value: Any) -> Any:
    """Let `policy: adaptive` stand for `policy: {kind: adaptive}`."""
    return {"kind": value} if isinstance(value, str) else value


def engine_shorthand(value: Any) -> Any:
    """Do the same for engines. Without a kind, an engine is `transformers`."""
    value = kind_shorthand(value)
    return {"kind": "transformers"} | value if isinstance(value, dict) else value
