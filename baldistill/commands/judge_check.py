"""`baldistill judge check`: how far the judge agrees with a person, before a run relies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray

from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.core.agreement import Agreement, agreement
from baldistill.core.ledger import Caps
from baldistill.data.labelled import LabelledAnswer, read_labelled
from baldistill.errors import ConfigError, UserError
from baldistill.generation.pool import Pool
from baldistill.placement.cluster import connected
from baldistill.placement.engines import asked_alone
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.progress.display import Display
from baldistill.run_folder import layout
from baldistill.run_folder.lock import only_run_in
from baldistill.run_folder.spending import replay
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.rubric_judge import Judged, Rubric, RubricJudge, Verdict, load_rubric
from baldistill.teacher.teacher import Teacher
from baldistill.terminal import make_table
from baldistill.visible import visible_lines

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Differing:
    """An answer about which judge and person differ."""

    question: str
    response: str
    person: bool
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class JudgeCheck:
    """A judge beside a person.

    Attributes:
        run_dir: Where the verdicts are; the same folder pays for none of them again.
        agreement: Over the answers with a verdict.
        unreadable: Answers without a readable verdict, after a second call.
        differing: Some of those about which the two differ.
        spent: Calls, tokens and cost in this folder.
    """

    run_dir: str
    agreement: Agreement
    unreadable: int
    differing: tuple[Differing, ...]
    spent: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        figures = {"accuracy": self.agreement.accuracy, "kappa": self.agreement.kappa}
        return figures | asdict(self)


def judge_check(
    config: Config,
    labelled: str | Path,
    *,
    run_dir: str | Path | None = None,
    address: str | None = None,
    verbose: bool = False,
    quiet: bool = False,
) -> JudgeCheck:
    """Let the judge of a config judge answers that a person has labelled, and compare the two.

    Args:
        config: Has a `judge`; the caps of its `budget` hold.
        labelled: JSON lines: `question`, `response`, `label`, and `reference` if wanted.
        run_dir: Folder or URI of ledger and verdicts; by default `runs/judge-NAME-TIMESTAMP`.
        address: Of a Ray cluster.
        verbose: Show Ray's own messages.
        quiet: Show nothing.

    Raises:
        ConfigError: The config has no judge.
        UserError: For anything else that the user can mend.
    """
    if config.judge is None:
        raise ConfigError(
            "this config has no judge to check: set judge={teacher: {...}, rubric: rubric.md}"
        )
    storage = Storage.open(run_dir or layout.new_folder(f"judge-{config.name}"))
    display = Display(quiet=quiet)
    rows = read_labelled(labelled, config.judge.scale, config.judge.accept)
    with only_run_in(storage, display.say):
        rubric = load_rubric(config.judge, storage, layout.RUBRIC)
        with connected(address, verbose=verbose) as cluster:
            check_storage_is_shared(storage)
            responses = ResponseStore(storage.sub(layout.RESPONSES))
            judge = len(config.models_asked) - 1
            with asked_alone(config, cluster, responses, [judge]) as pools:
                verdicts = _judge(config, rubric, rows, storage, pools[judge], display)
        result = _compare(config, storage, rows, verdicts)
    show(result, rubric, display)
    return result


def _judge(
    config: Config,
    rubric: Rubric,
    rows: Sequence[LabelledAnswer],
    storage: Storage,
    pool: Pool,
    display: Display,
) -> list[Verdict]:
    number = len(config.models_asked) - 1
    model = config.models_asked[number]
    responses = ResponseStore(storage.sub(layout.RESPONSES))
    prices = tuple(asked.prices for asked in config.models_asked)
    ledger = start_ledger(storage.sub(layout.LEDGER), responses, _caps(config), prices)
    try:
        with display.task("judge", len(rows)) as task:
            teacher = Teacher(
                pool.reporting_to(task.report),
                ledger,
                responses,
                model,
                load_prompts(model.prompts, model=model.model),
                number + 1,
            )
            texts = [Judged("check", row.question, row.response, row.reference) for row in rows]
            return RubricJudge(teacher, rubric).judge(texts, stage=0, on_answers=task.advance)
    finally:
        ray.kill(ledger)


def _caps(config: Config) -> Caps:
    budget = config.budget
    return Caps(budget.total, budget.calls, budget.tokens, budget.cost)


def _compare(
    config: Config, storage: Storage, rows: Sequence[LabelledAnswer], verdicts: Sequence[Verdict]
) -> JudgeCheck:
    """Put verdicts and labels side by side.

    Raises:
        UserError: A cap refused a verdict.
    """
    if cap := next((verdict.refused for verdict in verdicts if verdict.refused), None):
        raise UserError(
            f"the cap on {cap} is reached before the judge has read all {len(rows):,} answers: "
            f"raise budget.{cap}, and use --run-dir {storage.uri}, where verdicts that came are "
            "not paid again"
        )
    judged, labels, differing = [], [], []
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict.score is None:
            continue
        accepts = verdict.fault is None
        judged.append(accepts)
        labels.append(row.accepted)
        if accepts != row.accepted:
            score = verdict.score
            differing.append(
                Differing(row.question, row.response, row.accepted, score.value, score.reason)
            )
    prices = tuple(asked.prices for asked in config.models_asked)
    total = replay(storage, _caps(config), prices).summary().to_dict()["total"]
    tokens = total["prompt_tokens"] + total["completion_tokens"]
    return JudgeCheck(
        storage.uri,
        agreement(judged, labels),
        len(rows) - len(judged),
        tuple(differing[:_MOST_SHOWN]),
        {"calls": total["calls"], "tokens": tokens, "cost": total["cost"]},
    )


def show(result: JudgeCheck, rubric: Rubric, display: Display) -> None:
    """Print how far judge and person agree."""
    figures = result.agreement
    low, high = rubric.scale
    display.show(
        make_table(
            f"judge (accepts from {rubric.accept} on, of {low} to {high}) beside the person",
            ["", "person accepts", "person rejects"],
            [
                ["judge accepts", f"{figures.both:,}", f"{figures.judge_alone:,}"],
                ["judge rejects", f"{figures.person_alone:,}", f"{figures.neither:,}"],
            ],
            [],
        )
    )
    accuracy = "-" if figures.accuracy is None else f"{figures.accuracy:.3f}"
    kappa = (
        "undefined, one of both labels alone" if figures.kappa is None else f"{figures.kappa:.3f}"
    )
    display.say(f"accuracy {accuracy}, Cohen's kappa {kappa}, over {figures.count:,} answers")
    if result.unreadable:
        display.say(f"{result.unreadable:,} answers had no readable verdict: a run rejects them")
    for one in result.differing:
        person = "accepts" if one.person else "rejects"
        shown = visible_lines(f"{one.question[:200]}\n  -> {one.response[:300]}")
        display.say_lines(
            f"the person {person}, the judge gives {one.score:g} ({visible_lines(one.reason)}):\n"
            f"  {shown}"
        )
    spent = result.spent
    display.say(
        f"{spent['calls']:,} calls, {spent['tokens']:,} tokens"
        + (f", cost {spent['cost']:,.4g}" if spent["cost"] else "")
        + f"; again for free with --run-dir {result.run_dir}"
    )
