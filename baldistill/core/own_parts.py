"""Parts of users: what a config names in a package of theirs, such as `my_package.policies:Even`.

A package may also register a part under a short name, as an entry point of a group. Nothing is
imported but what a config names, and only when it is used: reading a config imports nothing.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from baldistill.errors import UserError

POLICIES: Final = "baldistill.policies"
"""The group of entry points that are budget policies."""
METRICS: Final = "baldistill.metrics"
"""The group of entry points that are metrics."""
SCORES: Final = "baldistill.scores"
"""The group of entry points that are selection scores."""
TASKS: Final = "baldistill.tasks"
"""The group of entry points that are task types."""
FILTERS: Final = "baldistill.filters"
"""The group of entry points that are filters of the teacher's answers."""


class OwnPartError(UserError):
    """A user's part cannot be found, fails, or does not do what such a part must do."""


@contextmanager
def calling(kind: str, method: str) -> Iterator[None]:
    """Tell the user what a part of theirs raised while it is called.

    Raises:
        OwnPartError: The part raised an exception; the message has its type, text and line.
    """
    try:
        yield
    except OwnPartError:
        raise
    except Exception as error:
        raise OwnPartError(f"{kind}: {method} raised {_told(error)}") from error


@contextmanager
def of_example(example_id: str) -> Iterator[None]:
    """Name the example about which a part of a user's is asked, if the part fails.

    Raises:
        OwnPartError: The part's error, with the example before it.
    """
    try:
        yield
    except OwnPartError as error:
        raise OwnPartError(f"example {example_id}: {error}") from error


def _told(error: Exception) -> str:
    """Say what was raised and where, since the user sees no traceback; and the fix."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno}): mend the class, "
        "and give the same command again"
    )


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
    except Exception as error:  # whatever the module does where it is imported
        raise OwnPartError(f"{kind}: its import raised {_told(error)}") from error
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
    except Exception as error:
        raise OwnPartError(f"{kind}: __init__ raised {_told(error)}") from error
