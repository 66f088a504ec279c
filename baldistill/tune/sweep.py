"""`baldistill sweep`: run many points of a space, and show which budget split is best.

Each trial is an ordinary run in a folder of its own, driven by Ray Tune. All trials share one store
of the teacher's answers and, where they can, one set of running engines. A sweep that was killed
goes on in the same folder, from the record of its trials and from their run folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from baldistill.config import Config
from baldistill.config.loading import load_config, read_mapping, validate
from baldistill.errors import ConfigError, UserError
from baldistill.placement.cluster import connected
from baldistill.placement.local_ray import set_environment
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.progress.display import Display
from baldistill.ray_patches import TUNE_SETTINGS
from baldistill.report.sweep import markdown
from baldistill.run_folder import layout
from baldistill.run_folder.identity import adopt_sweep
from baldistill.run_folder.integrity import check_steps
from baldistill.run_folder.lock import only_run_in, only_user_of
from baldistill.storage import Storage
from baldistill.tune.outcome import check_seeds, validate_best, write_result
from baldistill.tune.plan import make_plan
from baldistill.tune.record import read_records, run_folder
from baldistill.tune.space import Space, dump_space, load_space, parse_space
from baldistill.tune.tuner import is_finished, run_trials, trackers_of

_IDENTITY = {"search", "seed", "metric", "equal_steps", "fixed", "parameters"}


def sweep(
    config: Config | None,
    space: Space | str | Path,
    *,
    run_dir: str | Path | None = None,
    address: str | None = None,
    parallel: int | None = None,
    validate_seeds: Sequence[int] = (),
    verbose: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Try the points of a space, and write tables, figures and the best config.

    Args:
        config: What the trials vary; the built-in quickstart where it is None.
        space: A space, or the path of its YAML file.
        run_dir: Folder or URI; the same folder resumes. By default `runs/sweep-TIMESTAMP`.
        address: Of a Ray cluster.
        parallel: Trials side by side; by default as many as fit.
        validate_seeds: Other seeds, on which the best config is then run against the config that
            the sweep began with, outside the space's cap on calls.
        verbose: Show Ray's own messages.
        quiet: Show nothing.

    Returns:
        The content of `sweep.json`.

    Raises:
        UserError: For anything that the user can mend. A trial that fails is shown with its
            reason and raises nothing, unless no trial came to its end.
    """
    config = config or load_config()
    space = space if isinstance(space, Space) else load_space(space)
    plan = make_plan(config, space)
    check_seeds(plan, validate_seeds)
    trackers_of(space)  # raises for a missing package before anything starts
    folder = Storage.open(run_dir or layout.new_folder("sweep"))
    display = Display(quiet=quiet)
    with only_run_in(folder), only_user_of(folder.sub(layout.RESPONSES), folder):
        adopt_sweep(folder, config, dump_space(space), partial(_is_same, folder, space))
        _check_trials(folder)  # before any trial is paid
        set_environment(TUNE_SETTINGS)  # before a local Ray starts, which inherits them
        with connected(address, verbose=verbose) as cluster:
            check_storage_is_shared(folder)
            display.say(f"sweep: {plan.num_trials} trials in {folder.uri}")
            if not is_finished(plan, folder):
                run_trials(plan, folder, cluster, parallel, display)
            result = write_result(folder, plan)
            display.say_lines(markdown(result.data))
            if validate_seeds and result.best is not None:
                display.say("the best config against the base, on other seeds:")
                result.data["validation"] = validate_best(
                    folder, config, result.best, validate_seeds, verbose=verbose, quiet=quiet
                )
                folder.write_json(layout.sweep_file("json"), result.data)
    display.say(f"written to {folder.uri}: {', '.join(result.files)}")
    if result.best is None:
        table = folder.uri_of(layout.sweep_file("md"))
        raise UserError(f"no trial came to its end: see the reasons above and in {table}")
    return result.data


def _check_trials(folder: Storage) -> None:
    """Check that what earlier trials committed is whole."""
    for trial in read_records(folder):
        check_steps(run_folder(folder, trial), students=False)


def read_sweep(
    folder: str | Path, changes: Mapping[str, Any] | None = None
) -> tuple[Config, Space]:
    """Read config and space of a sweep, to resume it; change keys of the space, such as its cap.

    Raises:
        ConfigError: There is no sweep in the folder.
    """
    storage = Storage.open(folder)
    if not (storage.exists(layout.CONFIG) and storage.exists(layout.SPACE)):
        raise ConfigError(f"there is no sweep in {storage.uri} (config.yaml and space.yaml)")
    names = [f"{storage.uri}/{name}" for name in (layout.CONFIG, layout.SPACE)]
    config = validate(read_mapping(storage.read_text(layout.CONFIG), names[0]), names[0])
    return config, parse_space(storage.read_text(layout.SPACE), names[1], changes)


def _is_same(folder: Storage, space: Space, text: str) -> bool:
    """Tell whether a sweep may go on from the space that its folder holds.

    It may have another cap, other trackers, another stopping rule, and more trials.
    """
    before = parse_space(text, f"{folder.uri}/{layout.SPACE}")
    old, new = (one.model_dump(mode="json", include=_IDENTITY) for one in (before, space))
    return bool(old == new)
