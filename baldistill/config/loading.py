"""Read a config: YAML, then dotted overrides, then validation with errors a person can use."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from baldistill.config import Config
from baldistill.config.sections import OWN_PART
from baldistill.errors import ConfigError
from baldistill.masking import masked_start
from baldistill.methods import preset
from baldistill.uris import split_query
from baldistill.yaml12 import NotYamlError, read_yaml, write_yaml

QUICKSTART = "quickstart"
Model = TypeVar("Model", bound=BaseModel)
_ANY = "*"  # stands for the keys of a mapping, which users choose


def load_config(
    source: str | Path | None = None,
    overrides: Sequence[str] = (),
    method: str | None = None,
    *,
    method_wins: bool = False,
) -> Config:
    """Read and validate a config.

    Args:
        source: Path or URI of a YAML file; None or `quickstart` is the built-in quickstart.
        overrides: `key.subkey=value` items; values are read as YAML.
        method: A preset of `baldistill.methods`, laid over the file and under the overrides.
        method_wins: Lay the preset over the overrides too. In a comparison at
            `budget.total=500 stages=6`, a method of one stage then keeps its one stage, and a
            method without training trains nothing.

    Raises:
        ConfigError: With every problem found, its key, and the nearest known key.
    """
    if source is None or str(source) == QUICKSTART:
        name = f"built-in {QUICKSTART}"
        text = resources.files("baldistill").joinpath("quickstart.yaml").read_text("utf-8")
    else:
        name, text = str(source), _read(str(source))
    values = read_mapping(text, f"config {name}")
    if method is not None:
        _lay_over(values, preset(method))
    for item in overrides:
        _override(values, item)
    if method is not None and method_wins:
        _lay_over(values, preset(method))
    return validate(values, name)


def read_mapping(text: str, name: str) -> dict[str, Any]:
    """Read YAML that must be a mapping; errors call it `name`."""
    try:
        values = read_yaml(text) or {}
    except NotYamlError as error:
        raise ConfigError(f"{name} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must be a mapping of keys to values")
    return values


def validate(values: Mapping[str, Any], name: str = "config") -> Config:
    """Build a `Config`, turning pydantic's errors into a `ConfigError`."""
    return validate_as(Config, values, name)


def validate_as(model: type[Model], values: Mapping[str, Any], name: str) -> Model:
    """Build any model that users write, with errors that name the key and the nearest one."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(item, values, model) for item in error.errors(include_url=False)]
        raise ConfigError(f"{name}:\n" + "\n".join(f"  {line}" for line in lines)) from None


def dump_config(config: Config) -> str:
    """Return the resolved config as YAML that `load_config` reads back."""
    return write_yaml(config.model_dump(mode="json"))


def _read(source: str) -> str:
    try:
        if "://" in source:
            from baldistill.storage import Storage  # pyarrow, only where it is asked for

            base, query = split_query(source)
            folder, _, file = base.rpartition("/")
            storage = Storage.open(folder + query)
            if storage.exists(file):
                return storage.read_text(file)
        elif Path(source).is_file():
            return Path(source).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"config {source} is not UTF-8 text ({error}): save it as UTF-8"
        ) from None
    raise ConfigError(f"config {source} does not exist (omit it to use the quickstart)")


def _lay_over(values: dict[str, Any], upper: Mapping[str, Any]) -> None:
    for key, value in upper.items():
        below = values.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and not _other_kind(below, value):
            _lay_over(below, value)
        else:
            values[key] = value


def _other_kind(below: Mapping[str, Any], upper: Mapping[str, Any]) -> bool:
    """Return whether two sections are of different kinds, which have different options."""
    kinds = below.get("kind"), upper.get("kind")
    return None not in kinds and kinds[0] != kinds[1]


def _override(values: dict[str, Any], item: str) -> None:
    key, separator, text = item.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(
            f"override {masked_start(repr(item))} is not of the form key.subkey=value"
        )
    try:
        value = read_yaml(text)
    except NotYamlError as error:
        raise ConfigError(f"override {key}: not a YAML value: {error}") from None
    set_value(values, key.strip(), value)


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of a config that is not validated yet."""
    parts = key.split(".")
    node = values
    for part in parts[:-1]:
        child = node.get(part)
        if isinstance(child, str):  # `policy: adaptive`, then policy.kind=...
            child = {"kind": child}
        node[part] = child if isinstance(child, dict) else {}
        node = node[part]
    if parts[-1] == "kind" and node.get("kind", value) != value:
        node.clear()  # another kind has other options
    node[parts[-1]] = value


def _explain(error: Any, values: Mapping[str, Any], model: type[BaseModel]) -> str:
    # pydantic puts the tag of a discriminated union into the location: drop what is no key
    location = [str(part) for part in error["loc"]]
    shown = [part for i, part in enumerate(location) if not _is_tag(location[:i], part, values)]
    key = ".".join(shown) or model.__name__.lower()
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):  # model, dataclass
        return f"{key}: unknown key{_suggest(shown, model)}"
    if error["type"] == "union_tag_invalid":
        kind, known = error["ctx"]["tag"], error["ctx"]["expected_tags"]
        near = difflib.get_close_matches(kind, known.replace("'", "").split(", "), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{key}.kind: {masked_start(repr(kind))} is none of {known}{hint}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":  # of a dataclass of core, which names its field first
        name, _, rest = message.partition(" ")
        keys = _all_keys(model)
        if rest.startswith("must ") and any(_matches(k, [*shown, name]) for k in keys):
            return f"{key}.{name}: {rest}"
    got = (
        ""
        if error["type"] in ("missing", "value_error")
        else f" (got {masked_start(repr(error['input'])):.80})"
    )
    return f"{key}: {message}{got}"


def _is_tag(before: Sequence[str], part: str, values: Any) -> bool:
    node = values
    for step in before:
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdigit():
            node = node[int(step)]
    if node == part or part == OWN_PART:
        return True
    kind = "transformers"  # of an engine without one
    return isinstance(node, Mapping) and part not in node and node.get("kind", kind) == part


def _suggest(location: Sequence[str], model: type[BaseModel]) -> str:
    """Return the nearest known key: first among the siblings, then anywhere in the config."""
    known = _all_keys(model)
    *parent, last = location
    tiers_alike = [part for part in parent if not part.isdigit()]
    siblings = {key[-1] for key in known if _matches(key[:-1], tiers_alike)}
    if last in siblings:
        return f"; it belongs to another kind of {'.'.join(parent)}"
    near = difflib.get_close_matches(last, siblings, 1, 0.6)
    if near:
        return f"; did you mean {'.'.join([*parent, near[0]])}?"
    elsewhere = sorted(".".join(key) for key in known if key[-1] == last and _ANY not in key)
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; known here: {', '.join(sorted(siblings))}" if siblings else ""


def _matches(pattern: Sequence[str], location: Sequence[str]) -> bool:
    same = len(pattern) == len(location)
    return same and all(a in (_ANY, b) for a, b in zip(pattern, location, strict=True))


def _all_keys(section: type[Any], prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if not issubclass(section, BaseModel):  # a dataclass of `core`, which holds no sections
        return {(*prefix, field.name) for field in dataclasses.fields(section)}
    keys: set[tuple[str, ...]] = set()
    for name, field in section.model_fields.items():
        keys.add((*prefix, name))
        is_mapping = typing.get_origin(field.annotation) is dict
        inside = (*prefix, name, _ANY) if is_mapping else (*prefix, name)
        for below in _sections(field.annotation):
            keys |= _all_keys(below, inside)
    return keys


def _sections(annotation: Any) -> list[type[Any]]:
    if isinstance(annotation, type):
        is_section = issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)
        return [annotation] if is_section else []
    origins = (typing.Union, types.UnionType, typing.Annotated, tuple, dict)
    if typing.get_origin(annotation) in origins:
        return [s for part in typing.get_args(annotation) for s in _sections(part)]
    return []
