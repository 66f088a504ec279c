"""`baldistill schema`: every key of a config, for editors and for the reference in the docs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from baldistill.config import Config
from baldistill.config.data import files_alone
from baldistill.config.sections import Section, engine_shorthand, kind_shorthand, switch

_DEFINED = "#/$defs/"
_FILES: Final = {"type": "array", "items": {"type": "string"}}
_SHORT: Final[dict[Any, list[dict[str, Any]]]] = {
    kind_shorthand: [{"type": "string"}],
    engine_shorthand: [{"type": "string"}],
    switch: [{"type": "boolean"}],
    files_alone: [{"type": "boolean"}, _FILES],
}
"""Short forms that stand for a section, by the validator that expands them."""
_ABOUT = ("default", "description", "title")


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section.

    Attributes:
        kind: Its type and bounds, in words; sections are named in backquotes.
        default: As JSON; None where the key must be given.
    """

    name: str
    kind: str
    default: Any
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class SectionKeys:
    """A section of the config, with its keys in their order."""

    name: str
    text: str
    keys: tuple[Key, ...]


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config, with which editors complete and check YAML files."""
    schema = Config.model_json_schema()
    for model in _below(Section):
        shown = schema if model is Config else schema["$defs"].get(model.__name__, {})
        options = shown.get("properties", {})
        for name in options.keys() & model.model_fields.keys():
            done = [getattr(one, "func", None) for one in model.model_fields[name].metadata]
            for short in (_SHORT[one] for one in done if one in _SHORT):
                options[name] = _with_short_forms(options[name], short)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _below(model: type[Section]) -> Iterator[type[Section]]:
    for one in model.__subclasses__():
        yield one
        yield from _below(one)


def _with_short_forms(option: dict[str, Any], short: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an option that may also be something shorter, which stands for a section."""
    about = {key: value for key, value in option.items() if key in _ABOUT}
    forms = option.get("anyOf") or option.get("oneOf") or [{"$ref": option["$ref"]}]
    return {**about, "anyOf": [*short, *forms]}


def config_sections() -> Iterator[SectionKeys]:
    """Yield the config, then every section that it may have, each once."""
    schema = config_schema()
    yield _section("Config", schema)
    for name, section in schema["$defs"].items():
        yield _section(name, section)


def _section(name: str, section: Mapping[str, Any]) -> SectionKeys:
    required = section.get("required", ())
    keys = tuple(
        Key(key, kind_of(one), one.get("default"), key in required, one.get("description", ""))
        for key, one in section.get("properties", {}).items()
    )
    return SectionKeys(name, section.get("description", ""), keys)


def kind_of(option: Mapping[str, Any]) -> str:
    """Say in words what values an option of a JSON Schema takes."""
    if "$ref" in option:
        return f"`{option['$ref'].removeprefix(_DEFINED)}`"
    for several in ("anyOf", "oneOf"):
        if several in option:
            return " or ".join(dict.fromkeys(kind_of(one) for one in option[several]))
    if "enum" in option:
        return " or ".join(f'"{value}"' for value in option["enum"])
    if "const" in option:
        return f'"{option["const"]}"'
    kind = option.get("type")
    if kind == "array":
        parts = option.get("items") or {"anyOf": option.get("prefixItems", [{}])}
        return f"list of {kind_of(parts)}"
    if kind == "object":
        values = option.get("additionalProperties")
        return f"mapping to {kind_of(values)}" if isinstance(values, dict) else "mapping"
    named = {"integer": "whole number", "number": "number", "string": "text", "boolean": "boolean"}
    return named.get(str(kind), "null" if kind == "null" else "anything") + _bounds(option)


def _bounds(option: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {option[name]:,}" for name, sign in signs.items() if name in option]
    return f" {', '.join(found)}" if found else ""
