"""Base class, bounds and shorthands that all parts of the config share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    with_config,
)

Count: TypeAlias = Annotated[int, Field(ge=1)]
Share: TypeAlias = Annotated[float, Field(ge=0.0, le=1.0)]


def _without_old_booleans(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse what YAML 1.1 read as booleans: in YAML 1.2 they are texts, which count as true."""
    for key, value in values.items():
        if isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
            raise ValueError(f"{key} is the text {value!r}: write true or false")
    return values


OpenOptions: TypeAlias = Annotated[dict[str, Any], AfterValidator(_without_old_booleans)]
"""Options that are handed on to an engine or a server, whose names it knows."""

OWN_PART = "package.module:Name"
"""The tag of parts of users in a union, as errors list it."""
_RULES = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Section(BaseModel):
    """A part of the config: immutable, and without keys that it does not know."""

    model_config = _RULES

    added: ClassVar[frozenset[str]] = frozenset()
    """Options that run folders of earlier versions do not know. A dump leaves them out while they
    have their default: the steps of these folders were made without them, and go on."""

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        for name in self.added & values.keys():
            if getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values


def use_as_section(*shapes: type[Any]) -> None:
    """Let pydantic read frozen dataclasses of `core` by the rules of a `Section`."""
    for shape in shapes:
        with_config(_RULES)(shape)


def kind_shorthand(value: Any) -> Any:
    """Let `policy: adaptive` stand for `policy: {kind: adaptive}`."""
    return {"kind": value} if isinstance(value, str) else value


def switch(value: Any) -> Any:
    """Let `true` stand for a section with its defaults, and `false` for none."""
    if isinstance(value, str):
        raise ValueError(f"must be true, false or a section, not the text {value!r}")
    return ({} if value else None) if isinstance(value, bool) else value


def engine_shorthand(value: Any) -> Any:
    """Do the same for engines. Without a kind, an engine is `transformers`."""
    value = kind_shorthand(value)
    return {"kind": "transformers"} | value if isinstance(value, dict) else value
