"""Annotation: fill each domain's quota with explained, synthesised or repeated examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from baldistill.core.budget import redistribute
from baldistill.data.corpus import read_corpus
from baldistill.method.candidates import Candidates
from baldistill.method.context import Context
from baldistill.method.plan import StagePlan
from baldistill.progress.display import Task
from baldistill.records import EXAMPLES, AnnotatedExample, Example, RejectedAnswer
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.rationale import explain, label_only
from baldistill.teacher.synthesis import TailDomain, synthesize


@dataclass(slots=True)
class _Filling:
    """A stage's quotas while they are being met.

    Attributes:
        candidates: Real examples that are still to try.
        annotated: What was accepted.
        rejected: Answers that were not.
        dropped: Domain of each real example that was given up, by id.
        refused: The cap of the ledger that ended the work.
    """

    candidates: Candidates
    annotated: list[AnnotatedExample] = field(default_factory=list)
    rejected: list[RejectedAnswer] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    refused: str | None = None

    def missing(self, quotas: Mapping[str, int]) -> dict[str, int]:
        """What each domain still lacks."""
        done = Counter(row.domain for row in self.annotated)
        return {d: quota - done[d] for d, quota in quotas.items() if quota > done[d]}

    def real(self) -> Counter[str]:
        """Real examples of each domain that were accepted."""
        return Counter(row.domain for row in self.annotated if row.source == "real")


def annotate(context: Context, plan: StagePlan) -> dict[str, Any]:
    """Meet the quotas of a stage; writes annotated, synthesized and rejected tables.

    Real examples first, in the order of selection; then, where they ran out, new ones (or repeated
    ones, by option). What a dry domain could not fill goes to the others by the same policy.
    """
    config, quotas = context.config, dict(plan.quotas)
    filling = _Filling(Candidates(context, plan))
    tail: dict[str, TailDomain] = {}
    dry: set[str] = set()
    with context.display.task("annotate", plan.budget) as task:
        while missing := filling.missing(quotas):
            _explain(context, plan.stage, missing, filling, task)
            missing = filling.missing(quotas)
            _fill_tail(context, plan, missing, tail, filling, task)
            missing = filling.missing(quotas)
            if filling.refused or not missing:
                break  # what a cap left undone has not run dry
            dry |= set(missing)
            if config.tail.fill == "none":
                break
            extra = _given_to_others(context, plan, missing, dry)
            if not extra:
                break
            for domain, count in missing.items():
                quotas[domain] -= count
            for domain, count in extra.items():
                quotas[domain] += count
        task.update(len(filling.annotated))
    return _write(context, plan, quotas, filling, dry)


def _explain(
    context: Context, stage: int, missing: Mapping[str, int], filling: _Filling, task: Task
) -> None:
    """Take real examples until the quotas are met or there are no more to try."""
    wanted = dict(missing)
    while not filling.refused:
        examples = filling.candidates.take(wanted)
        if not examples:
            lacking = {domain: number for domain, number in wanted.items() if number > 0}
            if filling.candidates.draw(lacking, filling.real()):
                continue
            return
        if context.config.student.target == "label":
            rows = [label_only(example) for example in examples]
            filling.annotated += rows
        else:
            result = explain(
                examples,
                context.teachers(task.report),
                context.config,
                stage=stage,
                on_answers=task.advance,
            )
            rows = result.annotated
            filling.annotated += rows
            filling.rejected += result.rejected
            filling.dropped |= result.dropped
            filling.refused = filling.refused or next(iter(result.refused.values()), None)
        for row in rows:
            wanted[row.domain] -= 1


def _fill_tail(
    context: Context,
    plan: StagePlan,
    missing: Mapping[str, int],
    tail: dict[str, TailDomain],
    filling: _Filling,
    task: Task,
) -> None:
    """Give domains whose real examples ran out what these could not."""
    if context.config.tail.fill == "repeat":
        filling.annotated += _repeated(context, plan, missing, filling)
        return
    wanted = {d: n for d, n in missing.items() if filling.candidates.ran_out(d)}
    if not wanted or filling.refused or context.config.tail.fill == "none":
        return
    tail |= _tail_domains(context, plan.stage, sorted(set(wanted) - set(tail)))
    result = synthesize(
        wanted,
        tail,
        context.teachers(task.report),
        context.config,
        stage=plan.stage,
        on_answers=task.advance,
    )
    filling.annotated += result.annotated
    filling.rejected += result.rejected
    filling.refused = filling.refused or result.refused


def _repeated(
    context: Context, plan: StagePlan, missing: Mapping[str, int], filling: _Filling
) -> list[AnnotatedExample]:
    """Repeat annotated real examples of a domain, each as often as the others."""
    before = context.annotated_before(plan.stage)
    earlier = AnnotatedExample.from_table(before) if before is not None else []
    rows = [*earlier, *filling.annotated]
    repeated = []
    for domain in sorted(missing):
        real = [r for r in rows if r.domain == domain and r.source == "real"]
        real.sort(key=lambda row: row.example_id)
        for number in range(missing[domain] if real else 0):
            repeated.append(replace(real[number % len(real)], source="repeated"))
    return repeated


def _given_to_others(
    context: Context, plan: StagePlan, missing: Mapping[str, int], dry: set[str]
) -> dict[str, int]:
    config = context.config
    return redistribute(
        plan.policy,
        context.corpus.counts,
        plan.stage,
        config.stages,
        sum(missing.values()),
        dry,
    )


def _tail_domains(context: Context, stage: int, names: list[str]) -> dict[str, TailDomain]:
    """Demonstrations and known questions of domains of which every row was tried: few rows."""
    if not names:
        return {}
    known: dict[str, list[str]] = {name: [] for name in names}
    real: dict[str, list[Example]] = {name: [] for name in names}
    for row in _rows_of(context, layout.TRAIN, names, EXAMPLES.names):
        example = Example(**row)
        real[example.domain].append(example)
        known[example.domain].append(example.question)
    # without answers: nothing before the metrics reads those of the evaluation set
    domains = sorted(context.corpus.evaluation_counts)
    examined = _rows_of(context, layout.EVALUATION, domains, ["domain", "question"])
    before = context.annotated_before(stage)
    for row in before.select(["domain", "question"]).to_pylist() if before is not None else ():
        if row["domain"] in known:
            known[row["domain"]].append(row["question"])
    threshold = context.config.tail.near_duplicate
    evaluation = ExistingQuestions(threshold, (row["question"] for row in examined))
    return {
        name: TailDomain(
            sorted(real[name], key=lambda example: example.example_id),
            ExistingQuestions(threshold, sorted(known[name]), evaluation),
        )
        for name in names
    }


def _rows_of(
    context: Context, part: str, domains: list[str], columns: list[str]
) -> list[dict[str, Any]]:
    def only(block: pa.Table) -> pa.Table:
        return block.select(columns).filter(pc.is_in(block["domain"], pa.array(domains)))

    return list(read_corpus(context.storage, part, only).iter_rows())


def _write(
    context: Context,
    plan: StagePlan,
    quotas: Mapping[str, int],
    filling: _Filling,
    dry: set[str],
) -> dict[str, Any]:
    names, storage = StageLayout(plan.stage), context.storage
    order = sorted(filling.annotated, key=lambda row: (row.domain, row.source, row.example_id))
    annotated = AnnotatedExample.to_table(order)
    new = pc.equal(annotated["source"], "synthetic")
    storage.write_table(names.annotated, annotated)
    storage.write_table(names.synthesized, annotated.filter(new))
    rejected = RejectedAnswer.to_table(filling.rejected)
    storage.write_table(names.rejected, rejected)
    storage.write_json(names.dropped, dict(sorted(filling.dropped.items())))
    return {
        "annotated": len(annotated),
        "budget": plan.budget,
        "quotas": dict(quotas),  # the plan's, after dry domains gave to the others
        "by_source": dict(Counter(row.source for row in order)),
        "by_domain": dict(sorted(Counter(row.domain for row in order).items())),
        "rejected": dict(sorted(Counter(row.reason for row in filling.rejected).items())),
        "dropped": len(filling.dropped),
        "dry": sorted(dry),
        "refused": filling.refused,
    }
