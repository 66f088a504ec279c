"""Find the current student's mistakes in tail domains: seeds of new examples (`tail.seeds`).

LLM2LLM (Lee et al. 2024): the student answers the examples that it learnt from, and the teacher
writes new ones after those that the student gets wrong. Gold answers decide, so that no teacher is
asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from baldistill.config import Config
from baldistill.data.corpus import read_corpus
from baldistill.method.context import Context
from baldistill.method.evaluate import answers_of
from baldistill.method.plan import StagePlan
from baldistill.records import RESPONSES
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.student.score import RIGHT


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Counts of the tail domains' real examples that the student answered, and got wrong."""

    asked: int
    wrong: int

    def describe(self) -> str:
        """Describe them in one line."""
        return f"{self.wrong:,} of {self.asked:,} real examples of tail domains are wrong"


def seeds_are_wrong_ones(config: Config, stage: int) -> bool:
    """Return whether a stage's new examples are written after mistakes of the last student."""
    return config.tail.seeds == "wrong" and "synthesize" in config.tail.fills and stage > 1


def find_mistakes(context: Context, plan: StagePlan) -> Mistakes:
    """Let the last student answer the real examples of domains that are to get new ones.

    They are fewer than the budget so far: all but a quota's worth of them was annotated. Writes
    `mistakes.parquet`.
    """
    domains = sorted(domain for domain, tail in plan.tail.items() if tail.synthetic)
    total = sum(context.corpus.counts[domain] for domain in domains)

    def select(block: pa.Table) -> pa.Table:
        return block.filter(pc.is_in(block["domain"], pa.array(domains, pa.string())))

    answers = RESPONSES.empty_table()
    if total:
        rows = read_corpus(context.storage, layout.TRAIN, select)
        title = "ask student"
        answers = answers_of(context, plan.stage - 1, rows, title=title, total=total)
    wrong = answers.filter(pc.less(answers["score"], RIGHT))
    context.storage.write_table(StageLayout(plan.stage).mistakes, wrong)
    return Mistakes(len(answers), len(wrong))


def mistakes_of(context: Context, stage: int) -> dict[str, set[str]]:
    """Return the ids of the examples that the last student got wrong, by domain."""
    found: dict[str, set[str]] = {}
    table = context.storage.read_table(StageLayout(stage).mistakes, ["domain", "example_id"])
    for row in table.to_pylist():
        found.setdefault(row["domain"], set()).add(row["example_id"])
    return found
