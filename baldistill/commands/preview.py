"""`baldistill preview`: what is sent, what comes back and what it costs, on a few examples.

A preview is the beginning of a run: it does the steps of the first stage that choose examples, and
asks the teacher for the first of a few domains. So a run in the same folder goes on from there, and
pays for none of these answers again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from baldistill.commands.preview_costs import asked_for_rationales, forecast
from baldistill.commands.run import opened_run
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.core.longtail import by_size
from baldistill.data.corpus import sample
from baldistill.errors import ConfigError
from baldistill.generation.types import Prompt, plain_text
from baldistill.method.candidates import Candidates
from baldistill.method.context import Context
from baldistill.method.plan import StagePlan, plan_all
from baldistill.method.stage import choose_examples
from baldistill.progress.display import Display
from baldistill.records import AnnotatedExample, Example
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.storage import Storage
from baldistill.teacher.rationale import Explained, explain, rationale_question
from baldistill.teacher.teacher import Teacher
from baldistill.visible import visible_lines


@dataclass(frozen=True, slots=True)
class Shown:
    """An example, what the teacher was sent for it, and what came back.

    Attributes:
        accepted: Whether the student would learn from it.
        reason: Why the last answer was not accepted; None if one was.
        text: The rationale that was accepted, or the last answer.
    """

    domain: str
    example_id: str
    question: str
    answer: str
    teacher_prompt: str
    student_prompt: str
    accepted: bool
    reason: str | None
    text: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview.

    Attributes:
        run_dir: The run folder; `run` goes on there.
        shown: The examples, by domain.
        synthesis_prompt: A prompt for a new example, if the run writes any.
        calls: New calls of the teacher; 0 where a preview is repeated.
        spent: Calls, tokens and cost in this folder so far.
        expected: Calls, tokens and cost that the run's real examples need at this rate; empty if
            nothing was accepted, or the run has gone on.
        new: New examples that come on top.
        by_domain: What each domain has cost in this folder so far.
        planned: The plan's own estimate for real (`real`) and new examples (`new`).
        ratio: Tokens of the preview's calls for rationales, as a share of the plan's estimate for
            them; None if nothing was asked, or the run has gone on.
        expected_new: The plan's estimate for new examples, its tokens and cost times `ratio`.
        whose: What the answers of the examples are: gold ones, or the teacher's.
    """

    run_dir: str
    shown: tuple[Shown, ...]
    synthesis_prompt: str | None
    calls: int
    spent: dict[str, float]
    expected: dict[str, float]
    new: int
    whose: str
    by_domain: dict[str, dict[str, float]]
    planned: dict[str, dict[str, float]]
    ratio: float | None
    expected_new: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the preview as JSON values."""
        return asdict(self)


def preview(
    config: Config | None = None,
    *,
    rows: int = 2,
    domains: int = 3,
    run_dir: str | Path | None = None,
    address: str | None = None,
    verbose: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Preview:
    """Ask the teacher about a few examples, and show prompts, answers, verdicts and costs.

    Args:
        config: The built-in quickstart by default.
        rows: Examples of each domain.
        domains: How many domains: from the largest to the smallest.
        run_dir: Folder or URI; `run` in the same folder pays for none of the answers again.
        address: Of a Ray cluster.
        verbose: Show Ray's own messages.
        quiet: Show nothing.
        options: Further ones of `run`, such as `engines`.

    Raises:
        ConfigError: The run would ask no teacher about real examples.
        UserError: For anything else that the user can mend.
    """
    config = config or load_config()
    if not config.teacher_explains or not config.budget.total:
        raise ConfigError(
            "a preview shows what a teacher explains, and this run explains nothing: see "
            "student.target and budget.total"
        )
    storage = Storage.open(run_dir or layout.new_folder(config.name))
    with opened_run(config, storage, address=address, verbose=verbose, quiet=quiet, **options) as (
        context,
        chain,
    ):
        _, plan = choose_examples(context, 1, chain.branch(StageLayout(1).folder))
        result = _ask(context, plan, rows, domains)
        show(result, context.display)
    return result


def _ask(context: Context, plan: StagePlan, rows: int, num_domains: int) -> Preview:
    config = context.config
    before = context.spending()["total"]
    names = _spread(
        [d for d in by_size(context.corpus.counts) if d in plan.head or plan.tail[d].real],
        num_domains,
    )
    examples = Candidates(context, 1).take(dict.fromkeys(names, rows))
    examples.sort(key=lambda example: names.index(example.domain))
    with context.display.task("ask the teacher", len(examples)) as task:
        teachers = context.teachers(task.report)
        judge = context.judge(task.report)
        explained = explain(
            examples, teachers, config, stage=1, on_answers=task.advance, judge=judge
        )
    spending = context.spending()
    spent = spending["total"]
    plans = plan_all(config, context.corpus.counts)
    real, new = _num_wanted(config, plans)
    planned = forecast(context, plans)
    uses_gold = config.rationale.accept == "gold"
    goes_on = context.storage.exists(layout.marker(StageLayout(1).step("annotated")))
    expected = {}
    if explained.annotated and not goes_on:  # then the ledger holds these examples alone
        expected = {
            key: value * real / len(explained.annotated) for key, value in _figures(spent).items()
        }
    calls = {domain: one["calls"] for domain, one in spending["by_domain"].items()}
    ratio = None if goes_on else planned.ratio(calls, *asked_for_rationales(spending))
    return Preview(
        context.storage.uri,
        tuple(_shown(context, examples, explained, teachers[0])),
        _synthesis_prompt(context, None if uses_gold else explained.annotated) if new else None,
        spent["calls"] - before["calls"],
        _figures(spent),
        expected,
        new,
        "gold answer" if uses_gold else "the teacher's conclusion",
        {domain: _figures(one) for domain, one in spending["by_domain"].items()},
        planned.to_dict(),
        ratio,
        planned.scaled(ratio) if ratio and new else {},
    )


def _shown(
    context: Context, examples: Sequence[Example], explained: Explained, teacher: Teacher
) -> list[Shown]:
    """Return each example with its prompts and what came back."""
    config = context.config
    accepted = {row.example_id: row for row in explained.annotated}
    refused = {row.example_id: (row.reason, row.text) for row in explained.rejected}
    shown = []
    for example in examples:
        name = example.example_id
        capped = explained.refused.get(name)
        reason, text = refused.get(name, (capped, None))
        asked: dict[str, Any] = {"question": example.question, "domain": example.domain}
        asked["context"] = example.context
        shown.append(
            Shown(
                example.domain,
                name,
                example.whole_question,
                accepted[name].answer if name in accepted else example.answer,
                plain_text(rationale_question(example, teacher, config, 0).prompt),
                plain_text(context.student_prompts.render("student", **asked)),
                name in accepted,
                None if name in accepted else reason,
                accepted[name].rationale if name in accepted else text,
            )
        )
    return shown


def _spread(names: list[str], most: int) -> list[str]:
    """Return at most so many names, from the first to the last."""
    if len(names) <= most:
        return names
    step = (len(names) - 1) / max(most - 1, 1)
    return [names[round(i * step)] for i in range(most)]


def _figures(total: dict[str, Any]) -> dict[str, float]:
    tokens = total["prompt_tokens"] + total["completion_tokens"]
    return {"calls": total["calls"], "tokens": tokens, "cost": total["cost"]}


def _num_wanted(config: Config, plans: Sequence[StagePlan]) -> tuple[int, int]:
    """Return how many real and how many new examples the whole run plans."""
    real = sum(sum(p.head.values()) + sum(t.real for t in p.tail.values()) for p in plans)
    new = sum(t.synthetic for p in plans for t in p.tail.values())
    return real, new if config.tail.fills[0] == "synthesize" else 0


def _synthesis_prompt(context: Context, accepted: Sequence[AnnotatedExample] | None) -> str | None:
    """Return a prompt for a new example of one domain, with some examples of it.

    They are rows of the smallest domain, or accepted ones, where no gold answer is used.
    """
    config, counts = context.config, context.corpus.counts
    if accepted is None:
        domain = list(by_size(counts))[-1]
        wanted = {domain: min(config.tail.demonstrations, counts[domain])}
        rows = sample(context.storage, wanted, counts, tried=set(), seed=context.seed("preview", 1))
        examples: Sequence[Example] = Example.from_table(rows)
    elif accepted:
        domain = accepted[-1].domain
        examples = [row for row in accepted if row.domain == domain]
    else:
        return None
    shown = examples[: config.tail.demonstrations]
    prompt: Prompt = context.teacher_prompts[0].render(
        "synthesis",
        domain=domain,
        demonstrations=[asdict(one) | {"question": one.whole_question} for one in shown],
        structured=config.teacher.tiers[0].structured,
    )
    return plain_text(prompt)


def show(result: Preview, display: Display) -> None:
    """Print a preview."""
    domain = None

    def say(text: str) -> None:
        display.say_lines(visible_lines(text))

    for one in result.shown:
        if one.domain != domain:
            domain = one.domain
            say(f"\n=== {domain}")
            say(f"--- the teacher is sent\n{one.teacher_prompt.rstrip()}")
            say(f"--- the student is sent\n{one.student_prompt.rstrip()}")
        else:
            say(f"--- another question\n{one.question}")
        verdict = "accepted" if one.accepted else f"not accepted: {one.reason}"
        gold = f" ({result.whose}: {one.answer})" if one.answer else ""
        say(f"--- the teacher's answer, {verdict}{gold}\n{one.text or '-'}")
    if result.synthesis_prompt:
        text = result.synthesis_prompt.rstrip()
        say(f"\n=== a prompt for a new example, with other examples each time\n{text}")
    for line in _costs(result):
        say(line)
    say(f"to go on: baldistill run --run-dir {result.run_dir}")


def _costs(result: Preview) -> Iterator[str]:
    """Yield what the preview cost, and what the run is expected to need, beside the plan's word."""
    good = sum(one.accepted for one in result.shown)
    yield (
        f"\n{good} of {len(result.shown)} accepted. {result.calls} new calls; in this folder "
        + _said(result.spent)
    )
    for domain, figures in result.by_domain.items():
        yield f"  {domain}: {_said(figures)}"
    if result.expected:
        yield (
            f"at this rate the real examples of the run need some {_said(result.expected)} "
            f"(the plan estimates {_said(result.planned['real'])})"
            + (f"; {result.new:,} new examples come on top" if result.new else "")
        )
    if result.expected_new and result.ratio:
        yield (
            f"the new examples need some {_said(result.expected_new)} (the plan estimates "
            f"{_said(result.planned['new'])}). None was asked for yet: the plan's tokens are "
            f"scaled by {result.ratio:.2f}, the real to the estimated tokens of the calls above"
        )


def _said(figures: Mapping[str, float]) -> str:
    calls, tokens = f"{figures['calls']:,.0f} calls", f"{figures['tokens']:,.0f} tokens"
    return f"{calls}, {tokens}{_money(figures['cost'])}"


def _money(cost: float) -> str:
    return f", cost {cost:,.4g}" if cost else ""
