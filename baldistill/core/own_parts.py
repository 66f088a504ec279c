"""Parts of users: what a config names in a package of theirs, such as `my_package.policies:Even`.

A package may also register a part under a short name, as an entry point of a group. Nothing is
imported but what a config names, and only when it is used: reading a config imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

POLICIES: Final = "baldistill.policies"
"""The group of entry points that are budget policies."""
METRICS: Final = "baldistill.metrics"
"""The group of entry points that are metrics."""
SCORES: Final = "baldistill.scores"
"""The group of entry points that are selection scores."""
TASKS: Final = "baldistill.tasks"
"""The group of entry points that are task types."""


class OwnPartError(ValueError):
    """A user's part cannot be found, or does not do what such a part must do."""


def is_own(kind: str, group: str) -> bool:
    """Tell whether a name is one of a user's part: `package.module:Name`, or an entry point."""
    return ":" in kind or bool(entry_points(group=group, name=kind))


def load(kind: str, group: str) -> Any:
    """Import what a user's part is called.

    Raises:
        OwnPartError: There is no such module or name here.
    """
    module, separator, name = kind.partition(":")
    if not separator:
        (point, *_) = [*entry_points(group=group, name=kind), EntryPoint(kind, "", group)]
        module, _, name = point.value.partition(":")
    if not module or not name:
        raise OwnPartError(f"{kind} is neither package.module:Name nor an entry point of {group}")
    try:
        found: Any = import_module(module)
    except ImportError as error:
        raise OwnPartError(
            f"{kind} cannot be imported ({error}): install its package beside baldistill, on each "
            "node that may run the driver"
        ) from error
    for attribute in name.split("."):
        if not hasattr(found, attribute):
            raise OwnPartError(f"{kind}: {module} has no {name}")
        found = getattr(found, attribute)
    return found


def make(kind: str, options: Mapping[str, Any], method: str, group: str) -> Any:
    """Make an object of a user's class with its options.

    Whatever is no class with the method is refused before it is called: a config that came from
    somewhere else must not call any function of any module.

    Raises:
        OwnPartError: It is no such class, or it refuses the options.
    """
    found = load(kind, group)
    if not isinstance(found, type) or not callable(getattr(found, method, None)):
        raise OwnPartError(f"{kind} is no class with a method {method}")
    try:
        return found(**options)
    except (TypeError, ValueError) as error:
        raise OwnPartError(f"{kind} refuses its options {dict(options)}: {error}") from error
