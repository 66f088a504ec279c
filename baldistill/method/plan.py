"""The plan: quotas of each stage and domain, head and tail, and what the teacher will be asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from baldistill.config import Config
from baldistill.config.unused import unused_options
from baldistill.core.budget import TailQuota, partition, quotas, stage_budgets
from baldistill.core.longtail import by_size
from baldistill.core.own_parts import OwnPartError
from baldistill.core.own_policy import MeasuredOwn, OwnPolicy
from baldistill.core.policies import Asked, Errors, Gain, MeasuredErrors, MeasuredGain, Policy
from baldistill.errors import ConfigError
from baldistill.terminal import make_table

_MOST_CANDIDATES = 1_000_000  # half a gigabyte of rows of 500 bytes


@dataclass(frozen=True, slots=True)
class StudentErrors:
    """The last student's errors on real examples of each domain.

    Empty for policies without `questions`, and before there is a student.
    """

    answers: dict[str, Asked] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage's plan: the examples that it sets out to annotate.

    Attributes:
        budget: B_i.
        quotas: Examples of each domain; they sum to B_i.
        unused: Real examples of each domain that no earlier stage tried.
    """

    stage: int
    budget: int
    quotas: dict[str, int]
    unused: dict[str, int]
    head: dict[str, int]
    tail: dict[str, TailQuota]

    def describe(self) -> str:
        """Describe the quotas in one line."""
        new = sum(tail.synthetic for tail in self.tail.values())
        real = sum(tail.real for tail in self.tail.values())
        return (
            f"{self.budget} examples: {sum(self.head.values())} selected in {len(self.head)} head "
            f"domains, {real} real + {new} new in {len(self.tail)} tail domains"
        )


def policy_of(
    config: Config,
    errors: StudentErrors,
    trained: Mapping[str, int],
    teacher: Mapping[str, Asked] | None = None,
) -> Policy:
    """Return the balancing policy with what it asks for.

    Args:
        config: The run's.
        errors: The current student's.
        trained: Units of each domain that earlier stages annotated.
        teacher: How the teacher did on real examples of each domain.
    """
    policy: Policy = config.budget.policy
    if isinstance(policy, Errors) and errors.answers:
        return MeasuredErrors(policy.floor, errors.answers)
    if isinstance(policy, OwnPolicy):
        return MeasuredOwn(policy, errors.answers, trained)
    if isinstance(policy, Gain):
        student = config.student
        kept = student.data == "cumulative" or student.init == "previous"
        known = (teacher or {}) if policy.beyond_teacher else {}
        return MeasuredGain(policy, errors.answers, trained if kept else {}, known)
    return policy


def plan_stage(
    config: Config,
    counts: Mapping[str, int],
    unused: Mapping[str, int],
    stage: int,
    policy: Policy | None = None,
) -> StagePlan:
    """Balance the stage's budget over the domains, and tell head from tail (paper, section 3).

    A policy that knows the student's answers may stand in for the config's. Of the n_d examples
    of a domain (`counts`), `unused` are those that no earlier stage tried.
    """
    policy = policy or config.budget.policy
    budget = stage_budgets(config.budget.total, config.stages)[stage - 1]
    try:
        quota = quotas(policy, counts, stage, config.stages, budget)
    except OwnPartError as error:
        raise ConfigError(f"budget.policy: {error}") from error
    # a real example fills as many units as it may have rationales
    parts = partition(quota, {d: n * config.rationale.per_example for d, n in unused.items()})
    return StagePlan(stage, budget, quota, dict(unused), parts.head, parts.tail)


def check_candidates(config: Config, counts: Mapping[str, int]) -> None:
    """Refuse a corpus whose candidates do not fit the driver's memory.

    Raises:
        ConfigError: All its rows would be candidates, and they are too many.
    """
    num_rows = sum(counts.values())
    if config.selection.candidates_per_quota is None and num_rows > _MOST_CANDIDATES:
        raise ConfigError(
            f"selection.candidates_per_quota=null makes candidates of all {num_rows:,} rows, which "
            "the student would answer in each stage and the driver's memory would hold: that is "
            f"for at most {_MOST_CANDIDATES:,}. Give it a number, such as 3, also beside "
            "--method baldistill-a-code or baldistill-n-code, which set null"
        )


def plan_all(config: Config, counts: Mapping[str, int]) -> list[StagePlan]:
    """Return the plans of all stages, as `baldistill plan` shows them: no example is dropped.

    Policies that ask for the student's errors share here as if they were the same everywhere.

    Raises:
        ConfigError: The candidates of such a corpus do not fit the driver's memory.
    """
    check_candidates(config, counts)
    plans, unused = [], dict(counts)
    trained: Counter[str] = Counter()
    for stage in range(1, config.stages + 1):
        policy = policy_of(config, StudentErrors(), trained)
        plan = plan_stage(config, counts, unused, stage, policy)
        plans.append(plan)
        trained.update(plan.quotas)
        real = {**plan.head, **{domain: tail.real for domain, tail in plan.tail.items()}}
        for domain, units in real.items():
            unused[domain] -= math.ceil(units / config.rationale.per_example)
    return plans


def equal_steps(config: Config, base: Config, *, any_start: bool = False) -> Config:
    """Return a config whose last student has had as many optimiser steps as with the base config.

    Where each of K stages goes on from the last stage's student and trains on all annotated so
    far, the last student has (K + 1) / 2 times the steps of one stage with the whole budget.
    Where each stage starts from the base student (`init: base`), it has those of its own stage
    alone, and there is nothing to make equal, unless only one of the two does: that is made equal
    with `any_start`.
    """
    students = config.student, base.student
    if not all(s.data == "cumulative" for s in students):
        return config
    if not any_start and not all(s.init == "previous" for s in students):
        return config
    passes, wanted = (c.stages + 1 if c.student.init == "previous" else 2 for c in (config, base))
    epochs = config.student.epochs * (wanted / passes)
    student = config.student.model_copy(update={"epochs": epochs})
    return config.model_copy(update={"student": student})


def plan_warnings(
    config: Config, stages: Sequence[StagePlan], recorded: Mapping[str, int]
) -> list[str]:
    """Return what is doubtful about a plan: options that change nothing, and `teacher_warnings`."""
    return [*unused_options(config), *teacher_warnings(config, stages, recorded)]


def teacher_warnings(
    config: Config, stages: Sequence[StagePlan], recorded: Mapping[str, int]
) -> list[str]:
    """Return what the teachers cannot do for this plan, to be told before anything starts.

    Of each domain, `recorded` new examples were recorded.
    """
    if config.tail.fills[0] != "synthesize" or not all(t.recorded for t in config.teacher.tiers):
        return []
    wanted: Counter[str] = Counter()
    for stage in stages:
        wanted.update({domain: tail.synthetic for domain, tail in stage.tail.items()})
    lacking = {d: n for d, n in wanted.items() if n > recorded.get(d, 0)}
    if not lacking:
        return []
    names = ", ".join(sorted(lacking)[:5]) + (", ..." if len(lacking) > 5 else "")
    what = "new examples, which a recording does not have"
    if recorded:
        num_lacking = sum(n - recorded.get(d, 0) for d, n in lacking.items())
        what = f"{num_lacking:,} more new examples than the recording has"
    return [
        f"{len(lacking)} domains ({names}) are to get {what}: what they lack goes to the other "
        "domains. For new examples put another teacher behind it (teacher.kind=cascade), name "
        "recorded ones (teacher.synthetic), or set tail.fill to repeat or none"
    ]


def quota_table(stages: Sequence[StagePlan], counts: Mapping[str, int], rows: int = 40) -> Table:
    """Tabulate quotas by domain (largest first) and stage; `12 + 30 new` in a tail domain."""
    order = by_size(counts)
    shown = order if len(order) <= rows else [*order[: rows // 2], *order[-rows // 2 :]]
    lines = []
    for domain in shown:
        cells = []
        for stage in stages:
            tail = stage.tail.get(domain)
            quota = stage.quotas.get(domain, 0)
            cells.append(f"{tail.real} + {tail.synthetic} new" if tail else f"{quota:,}")
        lines.append([domain, f"{counts[domain]:,}", *cells])
    whole = [
        "all" if len(shown) == len(order) else f"all {len(order):,} (ends shown)",
        f"{sum(counts.values()):,}",
        *(f"{stage.budget:,}" for stage in stages),
    ]
    columns = ["domain", "examples", *(f"stage {stage.stage}" for stage in stages)]
    return make_table("quotas", columns, lines, [whole])
