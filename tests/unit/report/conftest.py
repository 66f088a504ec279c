"""Write run folders with the code that real runs use, without models."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from baldistill.config import Config
from baldistill.config.loading import dump_config
from baldistill.core.label_metrics import metrics_of_responses
from baldistill.core.ledger import Caps, Ledger, Reject, Reserve, Settle, to_record
from baldistill.core.longtail import head_domains
from baldistill.core.metrics import Metrics
from baldistill.data.summary import CorpusSummary
from baldistill.method.annotate import Annotation
from baldistill.method.plan import StagePlan, plan_all
from baldistill.method.select import Scored, Selected
from baldistill.records import ANNOTATED, QUARANTINE, REJECTED, RESPONSES
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage
from baldistill.student.training import TrainingResult

STEPS = ("plan", "scored", "selected", "annotated", "student", "metrics")
EVALUATED = 4  # questions a domain


def zipf(num_domains: int, total: int = 5000) -> dict[str, int]:
    mass = sum(1 / rank for rank in range(1, num_domains + 1))
    return {
        f"domain-{rank:03d}": max(1, round(total / rank / mass))
        for rank in range(1, num_domains + 1)
    }


class RunWriter:
    """Writes a run step by step, up to where it is told to stop."""

    def __init__(self, folder: Path, config: Config, counts: Mapping[str, int], text: str) -> None:
        self.storage = Storage.open(folder)
        self.config = config
        self.counts = dict(counts)
        self.text = text
        self.evaluated: dict[str, Any] = {}
        budget, tiers = config.budget, config.teacher.tiers
        caps = Caps(budget.total, budget.calls, budget.tokens, budget.cost)
        self.ledger = Ledger(caps, tuple(t.prices for t in tiers))
        self.num_segments = 0
        self.storage.write_text("config.yaml", dump_config(config))
        self.storage.write_json("versions.json", {"python": "3.11", "peft": None})

    def commit(self, name: str, make: Callable[[], Any], result_type: type[Any]) -> None:
        Chain(self.storage).step(name, {}, make, result_type)
        marker = self.storage.read_json(f"_commits/{name}.json")
        marker |= {"seconds": 2.5}
        del marker["crc32"]
        self.storage.write_json(f"_commits/{name}.json", marker)

    def corpus(self, quarantined: Mapping[str, int]) -> None:
        rows = [
            {"file": "a.jsonl", "row": i + 1, "reason": reason, "detail": self.text, "content": "{"}
            for reason, count in quarantined.items()
            for i in range(count)
        ]
        self.storage.write_table("quarantine/0.parquet", pa.Table.from_pylist(rows, QUARANTINE))
        num_rows = sum(self.counts.values()) + EVALUATED * len(self.counts) + len(rows)
        summary = CorpusSummary(
            num_rows_read=num_rows,
            counts=dict(sorted(self.counts.items())),
            evaluation_counts=dict.fromkeys(sorted(self.counts), EVALUATED),
            quarantined=dict(quarantined),
            num_capped=0,
            warnings=[f"a warning about {self.text}"],
        )
        self.commit("corpus", lambda: summary, CorpusSummary)

    def stage(self, number: int, steps: tuple[str, ...] = STEPS) -> None:
        folder = f"stages/{number:02d}"
        plan = plan_all(self.config, self.counts)[number - 1]
        for step in steps:
            if step == "plan":
                self.storage.write_json(f"{folder}/plan.json", asdict(plan))
                self.commit(f"{folder}/plan", lambda: plan, StagePlan)
            elif step == "annotated":
                self.commit(f"{folder}/annotated", lambda: self.annotate(plan, folder), Annotation)
            elif step == "student":
                losses = tuple((i, 2 * math.exp(-i / 20)) for i in range(2, 60, 2))
                trained = TrainingResult(10, 60, 0.4, losses, truncated=1, dropped=0)
                self.commit(f"{folder}/student", lambda result=trained: result, TrainingResult)
            elif step == "metrics":
                self.evaluate(number)
            elif step == "scored":
                self.commit(f"{folder}/scored", lambda: Scored(9, 6, 0), Scored)
            else:
                self.commit(f"{folder}/selected", lambda: Selected(9, 6), Selected)

    def annotate(self, plan: StagePlan, folder: str) -> Annotation:
        rows, rejected, entries = [], [], []
        for domain, quota in plan.quotas.items():
            new = plan.tail[domain].synthetic if domain in plan.tail else 0
            for i in range(quota):
                name = f"{folder}/{domain}/{i}"
                source = "synthetic" if i < new else "real"
                purpose = "synthesis" if i < new else "rationale"
                tier = 1 + (i % 4 == 0) * (len(self.config.teacher.tiers) - 1)
                ask = Reserve(
                    name, purpose, plan.stage, domain, max_tokens=90, prompt_tokens=40, tier=tier
                )
                entries += self.ledger.reserve([ask]).entries
                entries += self.ledger.settle([Settle(name, 30, 20)])
                example = {"example_id": name, "domain": domain, "answer": "4"}
                rows.append(
                    example
                    | {"question": f"2+2? {self.text}", "source": source, "attempts": 1}
                    | {"rationale": f"two and two {self.text}", "verified": True}
                )
        bad = f"{folder}/bad"
        domain = next(iter(plan.quotas))
        ask = Reserve(bad, "rationale", plan.stage, domain, units=0, max_tokens=90)
        entries += self.ledger.reserve([ask]).entries
        entries += self.ledger.settle([Settle(bad, 30, 20)])
        entries += self.ledger.reject([Reject(bad, "wrong conclusion")])
        rejected.append(
            {"request_id": bad, "purpose": "rationale", "domain": ask.domain}
            | {"example_id": "x", "reason": "wrong conclusion", "text": f"5 {self.text}"}
        )
        lines = "".join(json.dumps(to_record(entry)) + "\n" for entry in entries)
        self.storage.write_text(f"ledger/{self.num_segments:08d}.jsonl", lines)
        self.num_segments += 1
        rows.sort(key=lambda row: (row["domain"], row["source"]))
        table = pa.Table.from_pylist(rows, ANNOTATED)
        self.storage.write_table(f"{folder}/annotated.parquet", table)
        self.storage.write_table(
            f"{folder}/rejected.parquet", pa.Table.from_pylist(rejected, REJECTED)
        )
        asked = {"example_id": ["x"], "question": ["the rejected one's question"], "answer": ["4"]}
        self.storage.write_table(f"{folder}/selected.parquet", pa.table(asked))
        sources = {row["source"]: 0 for row in rows}
        for row in rows:
            sources[row["source"]] += 1
        return Annotation(
            annotated=len(rows),
            budget=plan.budget,
            unfilled={},
            quotas=plan.quotas,
            by_source=sources,
            by_domain=plan.quotas,
            rejected={"wrong conclusion": 1},
            dropped=1,
            dry=[min(plan.quotas)],
            refused=None,
        )

    def evaluate(self, number: int) -> None:
        folder = f"stages/{number:02d}"
        ordered = sorted(self.counts, key=lambda name: -self.counts[name])
        rows = [
            {"example_id": f"{name}/{i}", "domain": name, "question": f"What? {self.text}"}
            | {"answer": "4", "response": f"It is {self.text}", "prediction": "4"}
            | {"score": float((i + place + number) % 5 < number + 1)}
            for place, name in enumerate(ordered)
            for i in range(EVALUATED)
        ]
        responses = pa.Table.from_pylist(rows, RESPONSES).sort_by("domain")
        self.storage.write_table(f"{folder}/responses.parquet", responses)
        head = head_domains(self.counts)
        metrics = metrics_of_responses(responses, lambda _: "math", {}, self.counts, head)
        self.evaluated["base" if number == 0 else f"stage {number}"] = metrics.to_dict()
        self.commit(f"{folder}/metrics", lambda: metrics, Metrics)

    def finish(self) -> None:
        last = list(self.evaluated.values())[-1]
        spent = self.ledger.summary().to_dict()
        self.storage.write_json("metrics.json", {**last, "stages": self.evaluated, "budget": spent})


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., str]:
    """A function that writes a run and returns its folder.

    Its arguments: domain sizes, K, B, how many stages are whole, the steps of the next one, a
    text that stands in every cell a user's file may fill, quarantined rows by reason, caps of
    the budget beside B, and the teacher.
    """

    def write(
        counts: Mapping[str, int] | None = None,
        *,
        stages: int = 4,
        budget: int = 200,
        whole: int | None = None,
        begun: tuple[str, ...] = (),
        text: str = "and so on",
        quarantined: Mapping[str, int] | None = None,
        name: str = "run",
        caps: Mapping[str, float] | None = None,
        teacher: Mapping[str, Any] | None = None,
    ) -> str:
        values = {"stages": stages, "budget": {"total": budget, **(caps or {})}}
        config = Config.model_validate(values | ({"teacher": teacher} if teacher else {}))
        writer = RunWriter(tmp_path / name, config, counts or zipf(8), text)
        writer.corpus(quarantined or {})
        writer.evaluate(0)
        num_stages = stages if budget else 0
        whole = num_stages if whole is None else whole
        for number in range(1, whole + 1):
            writer.stage(number)
        if begun:
            writer.stage(whole + 1, begun)
        elif whole == num_stages:
            writer.finish()
        return str(tmp_path / name)

    return write
