"""lm-eval with a student in this process: it asks its tasks, and counts them as they are answered.

Its own class for Hugging Face models computes, so that figures are those that others publish.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets.exceptions import DatasetsError
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from baldistill.config.benchmarks import LmEvalConfig, is_task_file
from baldistill.core.benchmarks import BenchmarkFigure
from baldistill.errors import UserError
from baldistill.generation.device import device_here
from baldistill.generation.types import ModelRef
from baldistill.progress.counter import Figures
from baldistill.records import BENCHMARK_SCORES
from baldistill.student.benchmarks import Examined

os.environ.setdefault("DISABLE_MULTIPROC", "1")  # its bootstrap forks no processes beside torch

_SHOW_SECONDS = 0.5
_ROWS_ON_CPU = 16
_BOOTSTRAP = 1000  # for metrics without a formula of their standard error
_UNFIT = (DatasetsError, OSError, ValueError, KeyError, TypeError, AttributeError, ImportError)
"""Errors that lm-eval raises for tasks that it cannot prepare."""


def examine_benchmarks(
    model: ModelRef,
    tasks: Sequence[str],
    options: LmEvalConfig,
    dtype: str,
    report: Callable[[Figures], None],
) -> Examined:
    """Let a model answer benchmarks in this process.

    Args:
        model: Who answers.
        tasks: Names, or absolute paths of task files.
        options: How to ask.
        dtype: Of the weights: `auto` is bfloat16 on a GPU with CUDA, else float32.
        report: Told how many requests are answered, of how many.

    Raises:
        UserError: A task or the model cannot be used.
    """
    progress = _Progress(report)
    progress.tell("reading the tasks of lm-eval")
    manager = TaskManager(include_defaults=any(map(_names_others, tasks)))
    loaded = [task for name in tasks for task in _load(manager, name, progress)]
    progress.tell("loading the model")
    lm = _model(model.resolve(), dtype, options)
    lm.set_cache_hook(progress)
    lm.progress = progress
    if options.chat_template and lm.tokenizer.chat_template is None:
        raise UserError(
            f"evaluation.lm_eval.chat_template=true, and the model {model.name} has no chat "
            "template: leave it out, so that it is asked in plain text"
        )
    progress.tell("building the prompts")
    try:
        results = simple_evaluate(
            lm,
            tasks=loaded,
            num_fewshot=options.num_fewshot,
            limit=options.limit,
            bootstrap_iters=_BOOTSTRAP,
            apply_chat_template=options.chat_template,
            task_manager=manager,
        )
    except torch.OutOfMemoryError:
        raise UserError(
            f"the memory does not hold the benchmarks with evaluation.lm_eval.batch_size="
            f"{options.batch_size}: set a smaller number"
        ) from None
    except (ValueError, KeyError) as error:
        raise UserError(f"evaluation.benchmarks: lm-eval stopped: {error!r}") from error
    samples = results.pop("samples")
    return Examined(
        _figures(results), _scores(samples), _as_json(results), metadata.version("lm-eval")
    )


class _Progress:
    """Counts answered requests. lm-eval tells a cache of each: `add_partial` is its method."""

    def __init__(self, report: Callable[[Figures], None]) -> None:
        self._report = report
        self._done = self._total = 0
        self._shown = 0.0

    def tell(self, status: str) -> None:
        """Say what is being done before requests are answered."""
        self._report(Figures(self._done, total=self._total, status=status))

    def expect(self, requests: int) -> None:
        """Say that more requests begin."""
        self._total += requests
        self.tell("")

    def add_partial(self, kind: str, request: Any, answer: Any) -> None:
        """Count a request that was answered."""
        self._done += 1
        now = time.monotonic()
        if now - self._shown > _SHOW_SECONDS or self._done == self._total:
            self._shown = now
            self._report(Figures(self._done, total=self._total))


class _Model(HFLM):  # type: ignore[misc]
    """lm-eval's model, which says how many requests of a kind begin, and shows no bar."""

    progress: _Progress

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        self.progress.expect(len(requests))
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        self.progress.expect(len(requests))
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        self.progress.expect(len(requests))
        return super().generate_until(requests, disable_tqdm=True)


def _names_others(task: str) -> bool:
    """Return whether a task needs lm-eval's index, whose files take seconds to read."""
    if not is_task_file(task) or not Path(task).is_file():
        return True
    return re.search(r"^group:", Path(task).read_text("utf-8"), re.MULTILINE) is not None


def _load(manager: Any, name: str, progress: _Progress) -> list[Any]:
    """Return the task, the group or the tasks of a name; their data sets are read here."""
    progress.tell(f"reading the data of {Path(name).name}")
    try:
        found = manager.load([name])
    except _UNFIT as error:
        raise UserError(
            f"evaluation.benchmarks: lm-eval cannot prepare {name}: {error}\n"
            "Its data set comes from the Hugging Face hub, unless its task file says otherwise: "
            "the node needs the network, or the data set in its cache (HF_HOME)"
        ) from error
    unsafe = [task for task, one in found["tasks"].items() if getattr(one, "UNSAFE_CODE", False)]
    if unsafe:
        raise UserError(
            f"evaluation.benchmarks: {', '.join(unsafe)} runs code that the model writes, which "
            "is not done here: leave it out, and run it by lm-eval itself in a container"
        )
    groups = found.get("groups", {})
    below = {child for children in found.get("group_map", {}).values() for child in children}
    tops = [group for group_name, group in groups.items() if group_name not in below]
    return tops or list(found["tasks"].values())


def _model(path: str, dtype: str, options: LmEvalConfig) -> Any:
    """Load the model as lm-eval's class; remote code is never run."""
    device = device_here()
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    rows: Any = options.batch_size
    if rows == "auto" and device != "cuda":
        rows = _ROWS_ON_CPU
    try:
        return _Model(
            path,
            device=device,
            dtype=dtype,
            batch_size=rows,
            parallelize=device == "cuda" and torch.cuda.device_count() > 1,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"lm-eval cannot load the model {path!r}: {error}") from error


def _figures(results: Mapping[str, Any]) -> tuple[BenchmarkFigure, ...]:
    """Return the figures of tasks, and those of groups in place of their tasks'."""
    hidden: set[str] = set()
    waiting = list(results.get("groups", {}))  # those with figures of their own
    while waiting:
        children = results["group_subtasks"].get(waiting.pop(), [])
        hidden |= set(children)
        waiting += children
    figures = []
    for task, values in results["results"].items():
        for key, value in values.items() if task not in hidden else ():
            metric, _, kind = key.partition(",")
            if not kind or metric.endswith("_stderr"):
                continue
            figures.append(
                BenchmarkFigure(
                    task=task,
                    metric=_named(metric, kind),
                    value=_number(value),
                    stderr=_number(values.get(f"{metric}_stderr,{kind}")),
                    num_examples=int(values.get("sample_len") or 0),
                    num_fewshot=_whole(results["n-shot"].get(task)),
                    higher_is_better=(results["higher_is_better"].get(task) or {}).get(metric),
                )
            )
    return tuple(figures)


def _scores(samples: Mapping[str, Any]) -> pa.Table:
    """Return the scores of examples that are numbers; those of other metrics need all examples."""
    rows = [
        {
            "task": task,
            "metric": _named(metric, sample["filter"]),
            "example": sample["doc_id"],
            "score": value,
        }
        for task, found in samples.items()
        for sample in found
        for metric in sample["metrics"]
        if (value := _number(sample[metric])) is not None
    ]
    return pa.Table.from_pylist(rows, schema=BENCHMARK_SCORES)


def _named(metric: str, kind: str) -> str:
    """Name a metric with the filter of the answers, where the task has one."""
    return metric if kind == "none" else f"{metric} ({kind})"


def _number(value: Any) -> float | None:
    """Return a finite number; None for anything else, such as lm-eval's "N/A"."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _as_json(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return lm-eval's results as JSON values, without what it says about this machine."""
    kept = {key: value for key, value in results.items() if key != "pretty_env_info"}
    found: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return found
