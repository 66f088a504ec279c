"""A judge marks the student's answers that are texts (`data.task: judged`)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from baldistill.config import Config
from baldistill.errors import UserError
from baldistill.method.context import Context
from baldistill.records import transcript
from baldistill.teacher.rubric_judge import Judged, Verdict

NO_ANSWER = "no answer"


def judged_by(config: Config) -> dict[str, Any]:
    """Return who judges, for the keys of steps that the judge decides; nothing without one."""
    return {} if config.judge is None else {"judge": config.judge.signature()}


def judge_responses(context: Context, stage: int, responses: pa.Table) -> pa.Table:
    """Mark the responses of domains whose answers are texts: 1 if the judge accepts one, else 0.

    The answer that was read in a response is judged, beside the gold answer where there is one.
    Column `verdict` has score and reason, and `error` says where no verdict could be read.

    Raises:
        UserError: A cap refused a verdict.
    """
    rows = responses.to_pylist()
    judged = [n for n, row in enumerate(rows) if context.config.is_judged(row["domain"])]
    if not judged:
        return responses
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
    _check_all_are_judged(verdicts)
    told: list[str | None] = [None] * len(rows)
    for number in judged:
        row, verdict = rows[number], verdicts.get(number)
        told[number] = NO_ANSWER if verdict is None else _told(verdict)
        row["score"] = float(verdict is not None and verdict.fault is None)
        if verdict is not None and verdict.score is None:
            row["error"] = verdict.fault
    marked = pa.Table.from_pylist(rows, schema=responses.schema)
    return marked.append_column("verdict", pa.array(told, pa.string()))


def _told(verdict: Verdict) -> str | None:
    if verdict.score is None:
        return verdict.fault
    return f"{verdict.score.value:g}: {verdict.score.reason}"


def _check_all_are_judged(verdicts: dict[int, Verdict]) -> None:
    refused = [verdict.refused for verdict in verdicts.values() if verdict.refused]
    if refused:
        cap = refused[0]
        raise UserError(
            f"the cap on {cap} is reached before the judge has read all answers of the evaluation "
            f"set ({len(refused):,} of {len(verdicts):,} are left): raise budget.{cap}, and run "
            "the same folder again. Verdicts that came are not paid again"
        )
