"""A judge marks the student's answers that are texts (`data.task: judged`)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from baldistill.config import Config
from baldistill.method.context import Context
from baldistill.records import transcript
from baldistill.teacher.rubric_judge import Judged, Verdict

NO_ANSWER = "no answer"


def judged_by(config: Config) -> dict[str, Any]:
    """Return who judges, for the keys of steps that the judge decides; nothing without one."""
    return {} if config.judge is None else {"judge": config.judge.signature()}


def judge_responses(context: Context, stage: int, responses: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Mark the responses of domains whose answers are texts: 1 if the judge accepts one, else 0.

    The answer that was read in a response is judged, beside the gold answer where there is one.
    Column `verdict` has score and reason, and `error` says where no verdict could be read.

    Returns:
        The marked responses, and those that a cap leaves out, which `verdict` names: it refused
        their verdict, or all of a domain in which they alone, without an answer, would count.
    """
    rows = responses.to_pylist()
    judged = [n for n, row in enumerate(rows) if context.config.is_judged(row["domain"])]
    if not judged:
        return responses, responses.slice(0, 0)
    texts = {
        number: Judged(
            rows[number]["domain"],
            transcript(rows[number].get("context"), rows[number]["question"]),
            rows[number]["prediction"],
            rows[number]["answer"],
        )
        for number in judged
        if rows[number]["prediction"] is not None
    }
    with context.display.task("judge answers", len(texts)) as task:
        judge = context.judge(task.report)
        assert judge is not None, "the config has one"
        given = judge.judge([*texts.values()], stage=stage, on_answers=task.advance)
    verdicts = dict(zip(texts, given, strict=True))
    caps = {n: str(verdict.refused) for n, verdict in verdicts.items() if verdict.refused}
    caps_of_domains = {rows[n]["domain"]: cap for n, cap in caps.items()}
    for number in verdicts.keys() - caps.keys():
        caps_of_domains.pop(rows[number]["domain"], None)
    told: list[str | None] = [None] * len(rows)
    for number in judged:
        row, verdict = rows[number], verdicts.get(number)
        told[number] = NO_ANSWER if verdict is None else _told(verdict)
        if cap := caps.get(number) or caps_of_domains.get(row["domain"]):
            caps[number] = cap
            told[number] = f"verdict refused by the cap on {cap}"
            continue
        row["score"] = float(verdict is not None and verdict.fault is None)
        if verdict is not None and verdict.score is None:
            row["error"] = verdict.fault
    table = pa.Table.from_pylist(rows, schema=responses.schema)
    table = table.append_column("verdict", pa.array(told, pa.string()))
    left_out = pa.array([number in caps for number in range(len(rows))])
    return table.filter(pc.invert(left_out)), table.filter(left_out)


def count_left_out(unjudged: pa.Table) -> dict[str, int]:
    """Count the answers that a cap leaves out, by what is said of the cap."""
    if not len(unjudged):
        return {}
    return dict(sorted(Counter(unjudged["verdict"].to_pylist()).items()))


def _told(verdict: Verdict) -> str | None:
    if verdict.score is None:
        return verdict.fault
    return f"{verdict.score.value:g}: {verdict.score.reason}"
