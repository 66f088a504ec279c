"""`baldistill plan`: what a run would spend. No teacher is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baldistill.commands.inputs import (
    check_own_parts,
    check_recordings,
    judged_note,
    scratch_folder,
    validated_corpus,
    validated_recordings,
)
from baldistill.commands.plan_notes import (
    accepted_without_gold,
    benchmarks_are_asked,
    domains_were_asked,
    mistakes_are_looked_for,
    quotas_to_come,
    scored_by_the_student,
    teacher_answers_evaluation,
    teacher_was_shown_answers,
    thoughts_are_taught,
)
from baldistill.commands.plan_prompts import prompt_lengths
from baldistill.commands.plan_usage import (
    PromptLengths,
    count_wanted,
    estimate_usage,
    planned_calls,
)
from baldistill.config import Config
from baldistill.config.loading import dump_config, load_config
from baldistill.core.corpus_notes import corpus_notes
from baldistill.core.longtail import imbalance
from baldistill.data.corpus import sample
from baldistill.errors import ConfigError
from baldistill.method.diversity import most_embedded
from baldistill.method.plan import StagePlan, plan_all, plan_warnings, quota_table
from baldistill.placement.cluster import connected
from baldistill.placement.resources import Placement, PoolShape, place
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.progress.display import Display
from baldistill.records import seed_for
from baldistill.run_folder import layout
from baldistill.run_folder.caps import CAPS
from baldistill.run_folder.lock import only_run_in
from baldistill.storage import Storage
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.rubric_judge import load_rubric

_SAMPLE_ROWS = 400  # of the corpus, to measure prompts on


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A forecast of a run's work and costs. `plan_usage.py` says what the estimates mean.

    Attributes:
        examples: Annotated examples in all (B).
        real: Real examples among them that the teacher explains (none for `target: label` with
            gold answers).
        new: New examples among them, for the tail.
        further: Further rationales of real examples among them, for the tail.
        recorded: New examples of each domain that teachers recorded (`teacher.synthetic`).
        calls: Teacher calls if every first answer is accepted, or the first votes agree.
        calls_at_most: Teacher calls if every allowed attempt is needed, under the cap on calls.
        tokens: Tokens that the teacher reads and writes.
        tokens_at_most: Tokens with every allowed attempt and the longest allowed responses.
        cost: In the currency of the prices.
        cost_at_most: Cost of `tokens_at_most`.
        embedded: Most prompts that the student reads for `selection.diversity`; costs no call.
        stopped_by: The cap that is expected to end the run before its budget is used.
    """

    stages: tuple[StagePlan, ...]
    counts: dict[str, int]
    examples: int
    real: int
    new: int
    further: int
    recorded: dict[str, int]
    calls: int
    calls_at_most: int
    tokens: int
    tokens_at_most: int
    cost: float
    cost_at_most: float
    embedded: int
    stopped_by: str | None
    placement: Placement

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        values = {**asdict(self), "imbalance": imbalance(self.counts).to_dict()}
        values["placement"]["student_engine"] = self.placement.student_engine.kind
        return values


def plan(
    config: Config | None = None,
    *,
    run_dir: str | Path | None = None,
    address: str | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> RunPlan:
    """Validate the corpus, balance the budget, check the resources, and show the result.

    Args:
        config: The built-in quickstart by default.
        run_dir: Keep the validated corpus there, for the run that follows. By default the corpus
            is kept only if it cannot be used, to be looked at.
        address: Of a Ray cluster.
        verbose: Show Ray's own messages.
        quiet: Show nothing.

    Raises:
        UserError: For anything that the user can mend.
    """
    config = config or load_config()
    display = Display(quiet=quiet)
    with (
        _run_folder(run_dir, config, display) if run_dir else scratch_folder("plan") as storage,
        connected(address, verbose=verbose) as cluster,
    ):
        placement = place(config, cluster)
        check_recordings(config)
        check_own_parts(config)
        check_storage_is_shared(storage)
        chain, corpus = validated_corpus(config, storage, display)
        recorded = validated_recordings(config, chain, corpus, display)
        examples = sampled_rows(config, storage, corpus.counts)
    result = plan_run(
        config, corpus.counts, placement, examples, recorded.counts, corpus.evaluation_counts
    )
    show(config, result, display, several_answers=corpus.several_answers)
    return result


@contextmanager
def _run_folder(run_dir: str | Path, config: Config, display: Display) -> Iterator[Storage]:
    """Open the folder of a run, if no run is at work there and no other config was used."""
    storage = Storage.open(run_dir)
    with only_run_in(storage, display.say):
        name = layout.CONFIG
        if storage.exists(name) and storage.read_text(name) != dump_config(config):
            raise ConfigError(
                f"{storage.uri} holds a run with another config, whose corpus must stay: use "
                f"another --run-dir, or {storage.uri_of(name)} to plan that run"
            )
        yield storage


def sampled_rows(
    config: Config, storage: Storage, counts: Mapping[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """Return some examples of each domain, to measure prompts on: the same ones each time."""
    fewest = max(config.tail.demonstrations, _SAMPLE_ROWS // len(counts))
    wanted = {domain: min(count, fewest) for domain, count in counts.items()}
    rows = sample(storage, wanted, counts, tried=set(), seed=seed_for(config.seed, "prompts"))
    found: dict[str, list[dict[str, Any]]] = {}
    columns = ["domain", "question", "answer", "context"]
    for row in rows.select([c for c in columns if c in rows.column_names]).to_pylist():
        found.setdefault(row["domain"], []).append(row)
    return found


def plan_run(
    config: Config,
    counts: Mapping[str, int],
    placement: Placement,
    examples: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    recorded: Mapping[str, int] | None = None,
    evaluated: Mapping[str, int] | None = None,
) -> RunPlan:
    """Return the plan for a corpus of these sizes.

    Prompts are measured on some examples of each domain; without them tokens and cost are 0.
    `recorded` counts the recorded new examples of each domain, `evaluated` its evaluation set.
    """
    recorded = recorded or {}
    stages = plan_all(config, counts) if config.budget.total else []
    real, new, further = count_wanted(config, stages)
    calls = list(planned_calls(config, stages, counts, recorded, evaluated or {}))
    lengths: PromptLengths = {}
    if examples is not None:
        prompts = [load_prompts(tier.prompts, model=tier.model) for tier in config.models_asked]
        rubric = None if config.judge is None else load_rubric(config.judge)
        lengths = prompt_lengths(config, prompts, calls, examples, rubric)
    expected, most = estimate_usage(config, calls, lengths)
    caps = config.budget.model_dump(include=set(CAPS), exclude_none=True)
    stopped_by = expected.first_over(caps)
    expected, most = expected.under(caps), most.under(caps)
    return RunPlan(
        stages=tuple(stages),
        counts=dict(counts),
        examples=sum(stage.budget for stage in stages),
        real=real.total(),
        new=new.total(),
        further=further.total(),
        recorded=dict(recorded),
        calls=round(expected.calls),
        calls_at_most=round(most.calls),
        tokens=round(expected.tokens),
        tokens_at_most=round(most.tokens),
        cost=expected.cost,
        cost_at_most=most.cost,
        embedded=most_embedded(config, stages),
        stopped_by=stopped_by,
        placement=placement,
    )


def show(
    config: Config, result: RunPlan, display: Display, *, several_answers: bool = False
) -> None:
    """Print a plan; `several_answers` says whether rows have more than one gold answer."""
    figures = imbalance(result.counts)
    display.say(
        f"long tail: {figures.num_domains} domains, largest {figures.largest:,}, "
        f"smallest {figures.smallest:,} ({figures.ratio:,.0f} : 1)"
    )
    display.show(quota_table(result.stages, result.counts))
    display.say(
        f"budget {config.budget.total:,} examples in {config.stages} stages "
        f"({config.budget.policy.kind}): {result.real:,} real explained, {result.new:,} new written"
        + (f", {result.further:,} real explained again" if result.further else "")
    )
    notes = (
        *corpus_notes(config.data.model_dump(), several_answers=several_answers),
        domains_were_asked(config),
        quotas_to_come(config),
        scored_by_the_student(config, result.stages),
        _chosen_to_differ(config, result),
        mistakes_are_looked_for(config, result.stages, result.counts),
        _answered_by_the_student(config, result),
        accepted_without_gold(config),
        teacher_was_shown_answers(config),
        thoughts_are_taught(config),
        judged_note(config),
        benchmarks_are_asked(config),
        teacher_answers_evaluation(config),
    )
    for note in filter(None, notes):
        display.say(note)
    display.say(
        f"estimated teacher calls: {result.calls:,}, at most {result.calls_at_most:,}; "
        f"tokens: {_about(result.tokens)}, at most {_about(result.tokens_at_most)}"
        + (
            f"; money: {result.cost:,.2f}, at most {result.cost_at_most:,.2f} in the currency of "
            "teacher.prices"
            if result.cost_at_most
            else ""
        )
    )
    if result.stopped_by:
        display.say(
            f"  warning: budget.{result.stopped_by} is less than this run is expected to need: it "
            "would end early, with what it has"
        )
    for warning in plan_warnings(config, result.stages, result.recorded):
        display.say(f"  warning: {warning}")
    placement = result.placement
    display.say(
        "actors: teacher "
        + " and ".join(_pool(teacher) for teacher in placement.teachers)
        + f", student {_pool(placement.student)}, training "
        + (f"{placement.num_workers} workers" if placement.num_workers else "in the driver")
    )


def _chosen_to_differ(config: Config, result: RunPlan) -> str | None:
    """Say what `selection.diversity` costs the student, or that it changes nothing."""
    selection = config.selection
    if selection.diversity == "none":
        return None
    if not result.embedded:
        return (
            f"selection.diversity={selection.diversity} changes nothing here: the first stage "
            "selects as selection.first_stage says, and a domain without spare candidates takes all"
        )
    return (
        f"selection.diversity={selection.diversity}: the student reads up to {result.embedded:,} "
        "prompts of the best candidates once more, and no teacher is asked"
    )


def _answered_by_the_student(config: Config, result: RunPlan) -> str | None:
    """Say what `tail.window` costs the student and the teacher."""
    window = config.tail.window
    if window is None or "synthesize" not in config.tail.fills:
        return None
    later = [stage for stage in result.stages if stage.stage > 1]
    new = sum(tail.synthetic for stage in later for tail in stage.tail.values())
    return (
        f"from stage 2 on the student answers each new example {window.samples} times, and those "
        f"with {window.low:.0%} to {window.high:.0%} right answers are kept (tail.window): "
        f"{new:,} are wanted there, and each that is rejected costs a call and no unit"
    )


def _about(number: float) -> str:
    """Return a number with three significant digits, the precision of an estimate."""
    digits = len(str(round(number)))
    return f"{round(number, min(0, 3 - digits)):,.0f}"


def _pool(pool: PoolShape) -> str:
    return f"{pool.replicas} x {pool.num_cpus:g} CPU + {pool.num_gpus:g} GPU"
