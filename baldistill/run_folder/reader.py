"""Reading a run folder, finished or not: its config, committed steps and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from baldistill.core.longtail import by_size, head_domains
from baldistill.core.metrics import against_teacher
from baldistill.errors import UserError
from baldistill.run_folder import layout
from baldistill.run_folder.integrity import check_steps
from baldistill.run_folder.layout import StageLayout, StepName
from baldistill.run_folder.steps import read_marker
from baldistill.storage import Storage
from baldistill.yaml12 import NotYamlError, read_yaml

_MEASURES = {"accuracy": "accuracy", "f1": "F1", "word_f1": "word F1", "judged": "share accepted"}
_STEPS: tuple[StepName, ...] = (
    *("plan", "scored", "selected", "mistakes", "annotated", "student", "metrics"),
    "benchmarks",
)


@dataclass(frozen=True, slots=True)
class StageFolder:
    """The committed part of a stage; stage 0 is the base student, which is only evaluated.

    Attributes:
        stage: From 0.
        seconds: How long each committed step took, in the order of the steps.
        plan: `plan.json`; like the next three, empty until its step is committed.
        training: Figures of the training, with `losses` as pairs of step and loss.
        sources: Domain -> source (real, synthetic, repeated) -> annotated rows.
    """

    stage: int
    seconds: dict[str, float]
    plan: dict[str, Any]
    annotation: dict[str, Any]
    training: dict[str, Any]
    metrics: dict[str, Any]
    sources: dict[str, dict[str, int]]

    @property
    def by_source(self) -> dict[str, int]:
        """Return the annotated rows of each source."""
        return dict(self.annotation.get("by_source", {}))


@dataclass(frozen=True)
class RunFolder:
    """A run, read from its folder.

    Attributes:
        config_text: The text of `config.yaml`.
        config: Its keys, not validated: a run of another version still gets its report.
        corpus: Figures of the corpus; empty until that step is committed.
        stages: Stage 0, if the base student was evaluated, and the stages that have begun.
        final: `metrics.json`; empty while the run is not finished.
        teacher: Figures of the teacher by itself; empty where it answered nothing.
    """

    storage: Storage
    config_text: str
    config: Mapping[str, Any]
    versions: dict[str, Any]
    corpus: dict[str, Any]
    corpus_seconds: float
    stages: tuple[StageFolder, ...]
    final: dict[str, Any]
    teacher: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return the corpus's examples of each domain, largest domain first."""
        counts = self.corpus.get("counts", {})
        return {domain: counts[domain] for domain in by_size(counts)}

    @cached_property
    def head(self) -> frozenset[str]:
        """Return the largest domains that together hold `evaluation.head_mass` of the corpus."""
        mass = self.setting("evaluation.head_mass", 0.8)
        return head_domains(self.counts, mass) if self.counts else frozenset()

    def setting(self, key: str, default: Any) -> Any:
        """Return a value of the config by its dotted key."""
        value: Any = self.config
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    @property
    def name(self) -> str:
        """Return the run's name in the config."""
        return str(self.setting("name", "run"))

    @property
    def benchmarks(self) -> list[dict[str, Any]]:
        """Return the figures of public benchmarks before and after, of a finished run."""
        return list(self.final.get("benchmarks", {}).get("changes", ()))

    @property
    def finished(self) -> bool:
        """Return whether `metrics.json` is written."""
        return bool(self.final)

    @property
    def budget(self) -> int:
        """Return B, the budget of annotated examples."""
        return int(self.setting("budget.total", 0))

    @property
    def num_stages(self) -> int:
        """Return K, the number of stages; 0 if there is nothing to annotate."""
        return int(self.setting("stages", 0)) if self.budget else 0

    @property
    def distilled(self) -> tuple[StageFolder, ...]:
        """Return the stages that have begun, without stage 0."""
        return tuple(stage for stage in self.stages if stage.stage > 0)

    def trained_stage(self, stage: int | None = None) -> int:
        """Return the stage whose student is meant: by default the last that has trained one.

        Raises:
            UserError: There is none, or not in this stage.
        """
        trained = [one.stage for one in self.distilled if one.training]
        if not trained:
            raise UserError(f"no stage of {self.storage.uri} has trained a student yet")
        if stage is not None and stage not in trained:
            there = ", ".join(map(str, trained))
            raise UserError(f"--stage {stage}: {self.storage.uri} has students of stages {there}")
        return trained[-1] if stage is None else stage

    @property
    def evaluated(self) -> dict[str, dict[str, Any]]:
        """Return the metrics by title (`base`, `stage 1`, ...), in order."""
        return {title(s.stage): s.metrics for s in self.stages if s.metrics}

    @property
    def annotated(self) -> int:
        """Return the annotated examples of all committed stages, in units of B."""
        return sum(stage.annotation.get("annotated", 0) for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Return the time of all committed steps together."""
        return self.corpus_seconds + sum(sum(s.seconds.values()) for s in self.stages)

    @property
    def measure(self) -> str:
        """Name the evaluation's measure: accuracy, F1 (of labels), word F1, or score for a mix."""
        named = {str(m.get("metric", "accuracy")) for m in self.evaluated.values()} or {"accuracy"}
        measure = _MEASURES.get(named.pop(), "score") if len(named) == 1 else "score"
        return against_teacher(measure) if self.against_teacher else measure

    @property
    def against_teacher(self) -> bool:
        """Return whether the evaluation set takes the teacher's answers as gold ones."""
        return bool(self.setting("evaluation.gold", "corpus") == "teacher")


@dataclass(frozen=True, slots=True)
class _Marker:
    """The figures that a committed step reports, and the time that it took."""

    figures: dict[str, Any]
    seconds: float


def corpus_counts(storage: Storage) -> dict[str, int]:
    """Return the examples of each domain in a run's corpus; empty until it is committed."""
    return dict(_marker(storage, layout.CORPUS_STEP).figures.get("counts", {}))


def title(stage: int) -> str:
    """Return the name of a stage in tables."""
    return f"stage {stage}" if stage else "base"


def read_run(run: str | Path) -> RunFolder:
    """Read the figures of a run's committed steps.

    Raises:
        UserError: It is not a run folder, or its config or its markers cannot be read, or a table
            or figure that a marker vouches for is damaged.
    """
    storage = Storage.open(run)
    if not storage.exists(layout.CONFIG):
        raise UserError(
            f"{storage.uri} is no run folder (it has no config.yaml): give the folder that "
            "`baldistill run` named in its first line"
        )
    text = storage.read_text(layout.CONFIG)
    try:
        config = read_yaml(text)
    except NotYamlError as error:
        raise UserError(f"{storage.uri_of(layout.CONFIG)} is not YAML: {error}") from None
    if not isinstance(config, Mapping):
        raise UserError(f"{storage.uri_of(layout.CONFIG)} holds no keys: is it a run's?")
    check_steps(storage, students=False)
    corpus = _marker(storage, layout.CORPUS_STEP)
    stages = int(config.get("stages", 0))
    return RunFolder(
        storage=storage,
        config_text=text,
        config=config,
        versions=storage.read_json(layout.VERSIONS) if storage.exists(layout.VERSIONS) else {},
        corpus=corpus.figures,
        corpus_seconds=corpus.seconds,
        stages=tuple(_stages(storage, stages)) if corpus.figures else (),
        final=storage.read_json(layout.METRICS) if storage.exists(layout.METRICS) else {},
        teacher=_marker(storage, layout.TEACHER_STEP).figures.get("metrics") or {},
    )


def _stages(storage: Storage, num_stages: int) -> list[StageFolder]:
    """Read every stage that has a committed step; stages are made one after the other."""
    found = []
    for number in range(num_stages + 1):
        stage = StageLayout(number)
        names = storage.list(stage.markers)
        steps = [step for step in _STEPS if f"{step}.json" in names]
        if steps:
            found.append(_stage(storage, number, steps))
        elif number > 0:
            break
    return found


def _stage(storage: Storage, number: int, steps: list[StepName]) -> StageFolder:
    stage = StageLayout(number)
    markers = {step: _marker(storage, stage.step(step)) for step in steps}
    figures = {step: marker.figures for step, marker in markers.items()}
    sources: dict[str, dict[str, int]] = {}
    if "annotated" in steps:
        rows = storage.read_table(stage.annotated, ["domain", "source"])
        for row in rows.group_by(["domain", "source"]).aggregate([([], "count_all")]).to_pylist():
            sources.setdefault(row["domain"], {})[row["source"]] = row["count_all"]
    return StageFolder(
        stage=number,
        seconds={step: marker.seconds for step, marker in markers.items()},
        plan=storage.read_json(stage.plan) if "plan" in steps else {},
        annotation=figures.get("annotated", {}),
        training=figures.get("student", {}),
        metrics=figures.get("metrics", {}),
        sources=sources,
    )


def _marker(storage: Storage, step: str) -> _Marker:
    """Read the marker of a step; an empty one if the step is not committed."""
    name = layout.marker(step)
    values = read_marker(storage, step)
    if values is None:
        return _Marker({}, 0.0)
    try:
        return _Marker(dict(values["figures"]), float(values["seconds"]))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{storage.uri_of(name)} was written by another version of baldistill and cannot be "
            "read: use that version, or run again in a new folder, with "
            f"--store {storage.uri_of(layout.RESPONSES)} so that the teacher's answers are not "
            "paid again"
        ) from None
