"""Annotation: fill each domain's quota with explained, synthesised or repeated examples.

`filling.py` decides what to ask for next; here the teachers are asked and the tables are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from baldistill.core.budget import redistribute
from baldistill.method.candidates import Candidates
from baldistill.method.context import Context
from baldistill.method.difficulty import Difficulty, uses_window
from baldistill.method.earlier import annotated_before, asked_before
from baldistill.method.filling import (
    Action,
    Draw,
    Explain,
    ExplainAgain,
    Filling,
    Repeat,
    Synthesize,
)
from baldistill.method.plan import StagePlan, StudentErrors
from baldistill.method.student_errors import policy_of_stage
from baldistill.method.tail import repeat_real, tail_domains
from baldistill.progress.display import Task
from baldistill.records import AnnotatedExample, RejectedAnswer
from baldistill.run_folder.caps import cap_reached, write_caps_of_stage
from baldistill.run_folder.layout import StageLayout
from baldistill.teacher.further import explain_again, explainable
from baldistill.teacher.rationale import Explained, explain, label_only
from baldistill.teacher.synthesis import TailDomain, synthesize


@dataclass(frozen=True, slots=True)
class Annotation:
    """Figures of what a stage annotated.

    Attributes:
        annotated: Accepted examples; with `unfilled` they are `budget`.
        budget: B_i.
        unfilled: Units of B_i that are missing, by reason.
        quotas: Those of the plan, after dry domains gave to the others.
        by_source: Accepted examples: real, further (rationales of real ones), synthetic, repeated.
        dropped: Real examples that were given up.
        dry: Domains that could not fill their quota.
        refused: The cap of the ledger that ended the stage; None for none.
        repaired: Accepted new examples whose JSON was malformed.
    """

    annotated: int
    budget: int
    unfilled: dict[str, int]
    quotas: dict[str, int]
    by_source: dict[str, int]
    by_domain: dict[str, int]
    rejected: dict[str, int]
    dropped: int
    dry: list[str]
    refused: str | None
    repaired: int = 0

    def describe(self) -> str:
        """Describe the annotation in one line."""
        sources = ", ".join(f"{count} {source}" for source, count in self.by_source.items())
        rejected = ", ".join(f"{count} {reason}" for reason, count in self.rejected.items())
        text = f"{self.annotated}/{self.budget} ({sources})"
        text += f"; {self.repaired} of malformed JSON, repaired" if self.repaired else ""
        text += f"; rejected: {rejected}" if rejected else ""
        text += f"; ran dry: {', '.join(self.dry)}" if self.dry else ""
        return text + (f"; {cap_reached(self.refused)}" if self.refused else "")


def annotate(
    context: Context, plan: StagePlan, errors: StudentErrors, caps: dict[str, Any]
) -> Annotation:
    """Fill the quotas of a stage under caps; write what was annotated, rejected and dropped."""
    config = context.config
    candidates = Candidates(context, plan.stage)
    policy = policy_of_stage(context, plan.stage, errors)

    def share_out(amount: int, dry: Collection[str]) -> dict[str, int]:
        counts, given = context.corpus.counts, filling.quotas
        return redistribute(policy, counts, plan.stage, config.stages, amount, dry, given)

    filling = Filling(
        plan.quotas,
        at_hand=candidates.at_hand(),
        unused=plan.unused,
        fills=config.tail.fills,
        redistribute=share_out,
        per_example=config.rationale.per_example,
    )
    with context.display.task("annotate", plan.budget) as task:
        work = _Annotator(context, plan.stage, candidates, task)
        for action in filling.actions():
            accepted, refused = work.do(action, filling.missing())
            filling.record(action, Counter(row.domain for row in accepted), refused)
        task.update(len(work.annotated))
    return _write(context, plan, work, filling, caps)


@dataclass(slots=True)
class _Annotator:
    """Does the actions of a stage.

    Attributes:
        dropped: Domain of each real example that was given up, by id.
        tail: Domains that got new examples.
        repaired: New examples whose JSON was malformed.
    """

    context: Context
    stage: int
    candidates: Candidates
    task: Task
    annotated: list[AnnotatedExample] = field(default_factory=list)
    rejected: list[RejectedAnswer] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    tail: dict[str, TailDomain] = field(default_factory=dict)
    repaired: int = 0

    def do(
        self, action: Action, missing: Mapping[str, int]
    ) -> tuple[list[AnnotatedExample], str | None]:
        """Do an action; return what it added, and the cap that refused a part of it.

        Of each domain, `missing` is the most that it may add.
        """
        accepted: list[AnnotatedExample] = []
        refused: str | None = None
        match action:
            case Draw():
                self.candidates.draw(action)
            case Explain(counts) if not self.context.config.teacher_explains:
                accepted = [label_only(example) for example in self.candidates.take(counts)]
            case Explain(counts):
                accepted, refused = self._explain(counts)
                if not refused and self.context.config.rationale.per_example > 1:
                    further, refused = self._explain_more(accepted, missing)
                    accepted += further
            case ExplainAgain(counts):
                accepted, refused = self._explain_again(counts)
            case Synthesize(counts):
                accepted, refused = self._synthesize(counts)
            case Repeat(counts):
                accepted = repeat_real(counts, self._so_far())
        self.annotated += accepted
        return accepted, refused

    def _explain(self, counts: dict[str, int]) -> tuple[list[AnnotatedExample], str | None]:
        context = self.context
        result = explain(
            self.candidates.take(counts),
            context.teachers(self.task.report),
            context.config,
            stage=self.stage,
            on_answers=self.task.advance,
            judge=context.judge(self.task.report),
        )
        self.rejected += result.rejected
        self.dropped |= result.dropped
        return result.annotated, next(iter(result.refused.values()), None)

    def _explain_more(
        self, rows: Sequence[AnnotatedExample], missing: Mapping[str, int]
    ) -> tuple[list[AnnotatedExample], str | None]:
        """Explain again what has just been accepted, up to `rationale.per_example` times."""
        rationale = self.context.config.rationale
        accepted = Counter(row.domain for row in rows)
        explained = Counter(row.domain for row in rows if row.rationale is not None)
        most = {d: n * (rationale.per_example - 1) for d, n in explained.items()}
        return self._ask_again(
            {d: min(n, missing[d] - accepted[d]) for d, n in most.items()},
            rows,
            rationale.max_attempts,
            rationale.per_example,
        )

    def _explain_again(self, counts: dict[str, int]) -> tuple[list[AnnotatedExample], str | None]:
        """Explain any accepted real examples of these domains again."""
        return self._ask_again(
            counts, self._so_far(), self.context.config.tail.max_attempts_per_example
        )

    def _ask_again(
        self,
        counts: dict[str, int],
        rows: Sequence[AnnotatedExample],
        attempts: float,
        most: int | None = None,
    ) -> tuple[list[AnnotatedExample], str | None]:
        context = self.context
        asked = asked_before(context.storage, self.stage)
        asked |= {str(row.request_id) for row in (*rows, *self.annotated)}
        asked |= {row.request_id for row in self.rejected}
        result: Explained = explain_again(
            counts,
            explainable(rows, self.rejected, counts.keys(), context.config.seed),
            context.teachers(self.task.report),
            context.config,
            stage=self.stage,
            asked=asked,
            attempts=attempts,
            most=most,
            on_answers=self.task.advance,
            judge=context.judge(self.task.report),
        )
        self.rejected += result.rejected
        return result.annotated, next(iter(result.refused.values()), None)

    def _so_far(self) -> list[AnnotatedExample]:
        """Return all that earlier stages and this one annotated, in this order."""
        before = annotated_before(self.context.storage, self.stage)
        return [*AnnotatedExample.from_table(before), *self.annotated]

    def _synthesize(self, counts: dict[str, int]) -> tuple[list[AnnotatedExample], str | None]:
        context = self.context
        self.tail |= tail_domains(
            context, self.stage, counts.keys() - self.tail.keys(), self.annotated
        )
        result = synthesize(
            counts,
            self.tail,
            context.teachers(self.task.report),
            context.config,
            stage=self.stage,
            on_answers=self.task.advance,
            verifier=context.verifier(self.task.report),
            window=Difficulty(context, self.stage)
            if uses_window(context.config, self.stage)
            else None,
            rubric_judge=context.judge(self.task.report),
        )
        self.rejected += result.rejected
        self.repaired += result.repaired
        return result.annotated, result.refused


def _write(
    context: Context, plan: StagePlan, work: _Annotator, filling: Filling, caps: dict[str, Any]
) -> Annotation:
    """Write the tables and the caps of a stage, and return its figures."""
    names, storage = StageLayout(plan.stage), context.storage
    rows = sorted(work.annotated, key=lambda row: (row.domain, row.source, row.example_id))
    annotated = AnnotatedExample.to_table(rows)
    storage.write_table(names.annotated, annotated)
    new = pc.equal(annotated["source"], "synthetic")
    storage.write_table(names.synthesized, annotated.filter(new))
    storage.write_table(names.rejected, RejectedAnswer.to_table(work.rejected))
    storage.write_json(names.dropped, dict(sorted(work.dropped.items())))
    write_caps_of_stage(storage, plan.stage, caps, filling.refused)
    unfilled = filling.unfilled()
    assert len(rows) + sum(unfilled.values()) == plan.budget
    return Annotation(
        annotated=len(rows),
        budget=plan.budget,
        unfilled=unfilled,
        quotas=filling.quotas,
        by_source=dict(Counter(row.source for row in rows)),
        by_domain=_counted(row.domain for row in rows),
        rejected=_counted(answer.reason for answer in work.rejected),
        dropped=len(work.dropped),
        dry=sorted(filling.dry),
        refused=filling.refused,
        repaired=work.repaired,
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
