"""Name every file in the folder of a run, of a comparison and of a sweep.

Scripts and people rely on these names. No other module spells them
(`tests/unit/run_folder/test_layout.py`). All are relative to the folder, with forward slashes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal, TypeAlias

StepName: TypeAlias = Literal[
    "errors", "plan", "scored", "selected", "mistakes", "annotated", "student", "metrics",
    "benchmarks",
]  # fmt: skip
"""The steps of a stage, in their order."""

ExportFormat: TypeAlias = Literal["messages", "prompt-completion", "alpaca", "parquet"]
"""Format in which `baldistill export` writes an example.

messages: `messages`, a chat whose last turn is the target (TRL, Axolotl, LLaMA-Factory, OpenAI).
prompt-completion: `prompt` and `completion`, as texts or as turns, whichever was shown (TRL).
alpaca: `system`, `instruction`, `input`, `output`, as texts (LLaMA-Factory, Axolotl).
parquet: prompt, completion and all columns of `annotated.parquet`.
"""

TABLE_METRICS = ("macro", "micro", "natural", "head", "tail", "worst")
"""Those of the figures that have room where each is a column, a tile or a line of a picture."""
METRIC_NAMES = (*TABLE_METRICS, "entropy", "dodrans")
"""Keys of the figures in `metrics.json` of a run and of each stage. Runs of earlier versions lack
some of them."""
METRIC_TITLES = {"entropy": "entropy-weighted", "dodrans": "dodrans-weighted"}
"""Titles of figures whose key says too little, in tables that have a row for each."""

# What ran.
CONFIG = "config.yaml"
VERSIONS = "versions.json"
LOG = "log.txt"

# The corpus.
TRAIN = "corpus/train"
EVALUATION = "corpus/evaluation"
QUARANTINE = "quarantine"
BUNDLED_SOURCE = "corpus/source"
"""The bundled corpus as files."""
CORPUS = (TRAIN, EVALUATION, QUARANTINE)
"""Folders that the step of the corpus writes for the other steps."""
EVALUATION_ANSWERS = "corpus/answered"
"""The evaluation set with the teacher's answers, where it has none of its own."""
EVALUATION_REJECTED = "corpus/unanswered.parquet"
"""Its questions on which the teacher reached no majority."""
DOMAINS = "corpus/domains.npz"
"""The model that made the domains, of a corpus without a column of them."""
STAGING = "corpus/staging"
"""Rows and keys while the corpus is prepared; deleted afterwards."""

# The teacher.
TEACHER_RESPONSES = "teacher/responses.parquet"
"""Its own answers to the evaluation set, marked (`evaluation.teacher`)."""
TEACHER_METRICS = "teacher/metrics.json"
RECORDED = "recorded"
"""New examples that were recorded, as a run found them (`teacher.synthetic`)."""
RUBRIC = "rubric.txt"
"""By what the judge decides, where there is one, as the run began with it."""
LEDGER = "ledger"
RESPONSES = "responses"

# The result.
METRICS = "metrics.json"
REPORT = "report"
REPORT_PAGE = "report/index.html"
BROWSE = "browse"
"""Every row on a page, as `baldistill browse` wrote it."""
BROWSE_PAGE = "index.html"
"""In that folder."""
EXPORT = "export"
"""Data sets that `baldistill export` wrote, a folder for each format."""
PUBLISH = "publish"
"""The student with its card, as `baldistill publish --dry-run` wrote it."""
PUBLISH_ADAPTER = "publish-adapter"
"""The same of its adapter alone."""

ADAPTER = "adapter"
"""In the folder of a student: its adapter, which is also merged into the student."""

# Machinery.
CORPUS_STEP = "corpus"
"""The step that prepares the corpus; `StageLayout.step` names those of the stages."""
RECORDED_STEP = "recorded"
"""The step that reads recorded new examples, in a run that has such a teacher."""
EVALUATION_ANSWERS_STEP = "evaluation_answers"
"""The step in which the teacher answers the evaluation set, where the config wants that."""
TEACHER_STEP = "teacher/metrics"
"""The step that evaluates the teacher by itself, where the config wants that."""
LOCK = "_lock"
"""Signs of life of the run at work, on an object store."""
LOCK_FILE = ".lock"
"""The file that the run at work locks, on a disk."""
_COMMITS = "_commits"

# A comparison.
SUBJECT = "subject.json"
"""Corpus, teacher and student, which all runs of a comparison share."""

# A sweep.
SPACE = "space.yaml"
BEST = "best.yaml"
RECORDS = "record"
"""A JSON file for each trial."""
TUNE_STATE = "tune"
VALIDATION = "validation"
"""The comparison of the best config with the base."""
FAILURE = "failure.txt"
"""In a trial's run folder: why the trial failed."""


class StageLayout:
    """The names of a stage; stage 0 is the base student's, which is only evaluated.

    Attributes:
        markers: Folder of the markers of its steps.
        scored: A folder of Parquet files: the candidates with their scores.
        selected: Candidates by rank.
        mistakes: Real examples of tail domains that the last student gets wrong.
        difficulty: A folder of Parquet files: how often the student solves new examples.
        annotated: What the student learns from.
        synthesized: The rows of `annotated` that the teacher wrote.
        rejected: Answers of the teacher that were not accepted.
        dropped: Domain of each real example that was given up.
        checkpoint: A folder for the training under way; gone when the student is committed.
        checkpoint_record: Says which checkpoint in that folder is whole.
        tracking: A folder for the files of experiment trackers, such as TensorBoard's.
        responses: The student's answers to the evaluation set.
        benchmarks: What lm-eval says about the student (`evaluation.benchmarks`), as it says it.
        benchmark_scores: The score of each example of these tasks.
        unjudged: Those of them whose verdict a cap refused, which count in no figure.
    """

    def __init__(self, stage: int) -> None:
        """Name everything in the folder of this stage."""
        self.folder = folder = f"stages/{stage:02d}"
        self.markers = f"{_COMMITS}/{folder}"
        self.plan = f"{folder}/plan.json"
        self.scored = f"{folder}/scored"
        self.selected = f"{folder}/selected.parquet"
        self.mistakes = f"{folder}/mistakes.parquet"
        self.difficulty = f"{folder}/difficulty"
        self.annotated = f"{folder}/annotated.parquet"
        self.synthesized = f"{folder}/synthesized.parquet"
        self.rejected = f"{folder}/rejected.parquet"
        self.dropped = f"{folder}/dropped.json"
        self.caps = f"{folder}/caps.json"
        self.student = f"{folder}/student"
        self.checkpoint = f"{folder}/checkpoint"
        self.checkpoint_record = f"{self.checkpoint}/latest.json"
        self.tracking = f"{folder}/tracking"
        self.responses = f"{folder}/responses.parquet"
        self.unjudged = f"{folder}/unjudged.parquet"
        self.metrics = f"{folder}/metrics.json"
        self.benchmarks = f"{folder}/benchmarks.json"
        self.benchmark_scores = f"{folder}/benchmark-scores.parquet"

    @property
    def annotation(self) -> tuple[str, ...]:
        """Return all files that the step `annotated` writes."""
        return (self.annotated, self.synthesized, self.rejected, self.dropped, self.caps)

    @property
    def evaluation(self) -> tuple[str, ...]:
        """Return all that the step `metrics` writes, but for `unjudged`, which needs a judge."""
        return (self.responses, self.metrics)

    def step(self, name: StepName) -> str:
        """Return the name under which a step of this stage is committed."""
        return f"{self.folder}/{name}"


def recorded_examples(tier: int) -> str:
    """Return the file of the new examples that the teacher of a tier (from 1) recorded."""
    return f"{RECORDED}/{tier:02d}.parquet"


def recorded_quarantine(tier: int) -> str:
    """Return the file of the rows of that recording that were left out."""
    return f"{RECORDED}/{tier:02d}-quarantine.parquet"


def marker(step: str) -> str:
    """Return the file that says that a step is committed."""
    return f"{_COMMITS}/{step}.json"


def new_folder(name: str) -> Path:
    """Return the default folder of a run, a comparison or a sweep that starts now."""
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def comparison_run(method: str, seed: int) -> str:
    """Return the run folder of a method and a seed in a comparison."""
    return f"{method}/seed-{seed}"


def comparison_file(ending: str) -> str:
    """Return a result of a comparison: json, md, csv, svg or png."""
    return f"comparison.{ending}"


def trial_run(trial: str) -> str:
    """Return the run folder of a trial in a sweep."""
    return f"trials/{trial}"


def trial_record(trial: str) -> str:
    """Return the record of a trial in a sweep."""
    return f"{RECORDS}/{trial}.json"


def sweep_file(ending: str) -> str:
    """Return a result of a sweep: json, md or csv."""
    return f"sweep.{ending}"
