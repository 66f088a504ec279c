"""The body of `baldistill sweep`: what its options mean together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from baldistill.config.loading import load_config
from baldistill.errors import ConfigError
from baldistill.tune.space import load_space


def run_sweep(
    source: str | None,
    overrides: Sequence[str],
    method: str | None,
    *,
    space: str | None,
    resume: str | None,
    changes: Mapping[str, Any],
    seeds: str | None,
    out: str | None,
    address: str | None,
    parallel: int | None,
    verbose: bool,
) -> dict[str, Any]:
    """Begin a sweep, or go on with one.

    Args:
        source: CONFIG; the quickstart without one.
        overrides: Of CONFIG.
        method: A preset laid over it.
        space: Path of the space.
        resume: Folder of a sweep, in place of all of these.
        changes: Keys of the space that options set.
        seeds: To validate the best config on, separated by commas.
        out: As in `sweep`, like the arguments that follow it.
        address: Of a Ray cluster.
        parallel: Trials side by side.
        verbose: Show Ray's own messages.

    Raises:
        UserError: For anything that the user can mend.
    """
    numbers = _numbers(seeds)
    if resume is not None:
        if source or overrides or method or space or out:
            raise ConfigError(
                "--resume takes config and space from the sweep's folder: leave out CONFIG, "
                "KEY=VALUE, --method, --space and --out"
            )
        from baldistill.tune.sweep import read_sweep

        config, chosen = read_sweep(resume, changes)
        out = resume
    elif space is not None:
        config, chosen = load_config(source, overrides, method), load_space(space, changes)
    else:
        raise ConfigError("--space FILE says what varies: see tune_spaces/ for some to begin with")

    from baldistill.tune.sweep import sweep

    return sweep(
        config,
        chosen,
        out=out,
        address=address,
        parallel=parallel,
        validate_seeds=numbers,
        verbose=verbose,
    )


def _numbers(seeds: str | None) -> tuple[int, ...]:
    if seeds is None:
        return ()
    if not all(seed.strip().isdigit() for seed in seeds.split(",")):
        raise ConfigError(f"--validate-seeds {seeds!r} is not a list of numbers such as 1,2,3")
    return tuple(int(seed) for seed in seeds.split(","))
