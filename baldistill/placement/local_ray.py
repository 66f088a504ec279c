"""A Ray on this machine that no other machine and no other user can reach.

Whoever reaches a Ray can run programs as its user, and read the keys in its environment. So a local
Ray listens on the loopback, asks for a token that only this user's processes have, and keeps its
sockets, logs and spilled objects in a folder that only this user can enter.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray

from baldistill.errors import ResourceError, UserError
from baldistill.private_folder import private_folder, user_id
from baldistill.ray_patches import (
    AUTH_MODE,
    LOCAL_RAY_SETTINGS,
    end_slow_start,
    keep_sigterm_handler,
    on_loopback,
    own_token,
    raylet_has_died,
    without_attendants,
    without_data_attendants,
)

_LONGEST_FOLDER = 36
"""Length of a path below which Ray's sockets keep within the 103 bytes that all systems allow."""


@contextmanager
def local_ray(level: int, verbose: bool) -> Iterator[None]:
    """Start a Ray on this machine, and end it with the block.

    Raises:
        ResourceError: It does not start, or would start without a token.
    """
    _check_token_is_wanted()
    set_environment(LOCAL_RAY_SETTINGS)
    with ExitStack() as stack:
        stack.enter_context(own_token())
        stack.enter_context(without_data_attendants())
        arguments = stack.enter_context(on_loopback())
        stack.callback(ray.shutdown)
        options = {"log_to_driver": verbose, "logging_level": level, "include_dashboard": False}
        with keep_sigterm_handler(), without_attendants(logs=verbose):
            _start({**arguments, **options, "_temp_dir": str(_folder())})
        with _death_explained():
            yield


@contextmanager
def _death_explained() -> Iterator[None]:
    """Say so if an error of the block comes from the death of the Ray that this process started.

    Ray has many errors for that. Often Ray also ends this process at once; then nothing is said.

    Raises:
        ResourceError: Ray has died.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not raylet_has_died():
            raise
        raise ResourceError(
            "Ray's own process on this machine (its raylet) has died: something killed it, or the "
            "machine ran out of memory. What was committed and answered is kept; the same command "
            "with --run-dir (for a sweep: --resume) goes on"
        ) from error


def set_environment(settings: dict[str, str]) -> None:
    """Set variables that the user has not set."""
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _check_token_is_wanted() -> None:
    mode = os.environ.get(AUTH_MODE, "token")
    if mode.lower() != "token":
        raise ResourceError(
            f"{AUTH_MODE}={mode} would let every user of this machine run programs as you, and "
            "read your keys: unset it. If that is what you want, start a Ray yourself (`ray start "
            "--head`) and name it by --address auto"
        )


def _folder() -> Path:
    """Return the folder for Ray's files; Ray opens it to all, so the folder above is private."""
    name = f"bd-{user_id()}"
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / name
    if os.name == "posix" and len(str(folder / "ray")) > _LONGEST_FOLDER:
        folder = Path("/tmp") / name
    remedy = "remove it, or set RAY_TMPDIR to a folder of your own with a short name"
    return private_folder(folder, remedy) / "ray"


def _start(options: dict[str, Any]) -> None:
    """Call `ray.init`, and again if the machine is busy: Ray gives up after 30 seconds."""
    for is_last in (*4 * (False,), True):
        try:
            ray.init(**options)
            return
        except Exception as error:
            if not end_slow_start(error):
                raise
            ray.shutdown()
            if is_last:
                raise ResourceError(
                    f"Ray did not start on this machine, which may be too busy: {error}"
                ) from None
