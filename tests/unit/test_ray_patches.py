"""What we rely on in Ray beyond its documented interface, looked at with each version of Ray."""

from __future__ import annotations

import signal
from importlib.metadata import version

import pytest

from baldistill import ray_patches


def test_a_new_version_of_ray_asks_for_a_look_at_each_patch() -> None:
    assert f"Ray {version('ray')}." in str(ray_patches.__doc__), "look at each entry, then say so"


def test_what_ray_does_not_document_is_still_there() -> None:
    assert all(issubclass(error, Exception) for error in ray_patches.lost_worker_errors())
    assert not ray_patches.is_remote_driver()


def test_the_program_keeps_its_own_handler_of_sigterm() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def mine(*_: object) -> None:
        pytest.fail("nobody sends a signal here")

    try:
        signal.signal(signal.SIGTERM, mine)
        with ray_patches.keep_sigterm_handler():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as `ray.init` sets one
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)
