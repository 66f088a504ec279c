"""Find what fills a domain whose real examples ran out: material for new ones, or repeated ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from baldistill.config.teachers import recorded_sources
from baldistill.data.corpus import read_corpus
from baldistill.data.recorded_examples import read_recorded
from baldistill.method.context import Context
from baldistill.method.earlier import annotated_before, asked_before
from baldistill.method.mistakes import mistakes_of, seeds_are_wrong_ones
from baldistill.records import EXAMPLES, OPTIONAL, AnnotatedExample, Example, transcript
from baldistill.run_folder import layout
from baldistill.storage import Storage
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.question import Question
from baldistill.teacher.recorded import recorded_id, recorded_question
from baldistill.teacher.synthesis import TailDomain

_ASKED = ["domain", "question", "context"]


def tail_domains(
    context: Context,
    stage: int,
    names: Iterable[str],
    annotated: Iterable[AnnotatedExample] = (),
) -> dict[str, TailDomain]:
    """Read the demonstrations and the known questions of domains.

    Where no gold answer is used (`rationale.accept`), the demonstrations are what was accepted:
    in earlier stages, and in this one (`annotated`).

    Every row of these domains was tried, so they have fewer rows than their quota.
    """
    names = sorted(names)
    if not names:
        return {}
    storage, threshold = context.storage, context.config.tail.near_duplicate
    real: dict[str, list[Example]] = {name: [] for name in names}
    for item in _rows(storage, layout.TRAIN, names, [*EXAMPLES.names, *OPTIONAL.names]):
        real[item["domain"]].append(Example(**item))
    known = {name: [example.whole_question for example in real[name]] for name in names}
    before = AnnotatedExample.from_table(annotated_before(storage, stage))
    for row in before:
        if row.domain in known:
            known[row.domain].append(row.whole_question)
    if context.config.rationale.accept != "gold":
        real = _accepted([*before, *annotated], names)
    # Only questions: nothing before the metrics reads the answers of the evaluation set.
    domains = sorted(context.corpus.evaluation_counts)
    held_out = _rows(storage, layout.EVALUATION, domains, _ASKED)
    evaluation = ExistingQuestions(
        threshold, (transcript(row.get("context"), row["question"]) for row in held_out)
    )
    recorded = _untried_recorded(context, stage, names)
    wrong = mistakes_of(context, stage) if seeds_are_wrong_ones(context.config, stage) else {}
    domains_by_name = {}
    for name in names:
        shown, first = sorted(real[name], key=lambda one: one.example_id), wrong.get(name, set())
        domains_by_name[name] = TailDomain(
            [example for example in shown if example.example_id not in first],
            ExistingQuestions(threshold, sorted(known[name]), evaluation),
            first=[example for example in shown if example.example_id in first],
            recorded={tier: left[name] for tier, left in recorded.items()},
        )
    return domains_by_name


def _accepted(rows: Iterable[AnnotatedExample], names: Iterable[str]) -> dict[str, list[Example]]:
    """Return the real examples among annotated ones, by domain, with the answers accepted."""
    found: dict[str, list[Example]] = {name: [] for name in names}
    for row in rows:
        if row.source == "real" and row.domain in found:
            values = {name: getattr(row, name) for name in EXAMPLES.names}
            found[row.domain].append(Example(**values, context=row.context))
    return found


def _untried_recorded(
    context: Context, stage: int, names: list[str]
) -> dict[int, dict[str, deque[Question]]]:
    """Return what no earlier stage tried of each teacher's recorded new examples, by domain."""
    sources = recorded_sources(context.config.teacher.tiers)
    asked = asked_before(context.storage, stage) if sources else set()
    untried: dict[int, dict[str, deque[Question]]] = {}
    for tier in sources:
        identity = context.config.teacher.tiers[tier - 1].identity
        left = untried[tier] = {name: deque[Question]() for name in names}
        for example in read_recorded(context.storage, tier, names):
            question = recorded_question(example)
            if recorded_id(question, identity) not in asked:
                left[example.domain].append(question)
    return untried


def repeat_real(
    counts: Mapping[str, int], rows: Iterable[AnnotatedExample]
) -> list[AnnotatedExample]:
    """Repeat the real ones of the annotated rows, each of a domain as often as the others.

    A domain without a real example gets no rows.
    """
    rows = sorted((row for row in rows if row.source == "real"), key=lambda row: row.example_id)
    repeated = []
    for domain in sorted(counts):
        real = [row for row in rows if row.domain == domain]
        for number in range(counts[domain] if real else 0):
            repeated.append(replace(real[number % len(real)], source="repeated"))
    return repeated


def _rows(
    storage: Storage, part: str, domains: list[str], columns: list[str]
) -> list[dict[str, Any]]:
    def select(block: pa.Table) -> pa.Table:
        held = [name for name in columns if name in block.column_names]  # optional ones are rare
        return block.select(held).filter(pc.is_in(block["domain"], pa.array(domains)))

    return list(read_corpus(storage, part, select).iter_rows())
