"""Ask the teacher for questions' domains where the user named them, on the ledger of a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ray

from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.core.ledger import Caps
from baldistill.data.named_domains import Namer
from baldistill.generation.pool import Pool
from baldistill.progress.display import Display
from baldistill.run_folder import layout
from baldistill.run_folder.spending import replay
from baldistill.storage import Storage
from baldistill.teacher.domain_names import ask_domains
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.teacher import Teacher


def namer_of(
    config: Config,
    storage: Storage,
    responses: ResponseStore,
    pool: Callable[[], Pool],
    display: Display,
) -> Namer | None:
    """Return what asks the first teacher for domains; None where none are named.

    Its calls are on the ledger of the folder, within the caps of `budget`.

    Args:
        config: Of a run.
        storage: The run folder.
        responses: Where its answers are.
        pool: Starts the teacher's engines, or returns those that run.
        display: Says how many calls are about to be made, and what they cost.
    """
    made = config.data.domains
    if made is None or made.names is None:
        return None
    names, tier, budget = made.names, config.teacher.tiers[0], config.budget
    caps = Caps(budget.total, budget.calls, budget.tokens, budget.cost)
    prices = tuple(asked.prices for asked in config.models_asked)
    prompts = load_prompts(tier.prompts, model=tier.model)

    def name(questions: Sequence[str]) -> list[str | None]:
        number = len(questions)
        display.say(
            f"data.domains.names: {tier.model} is asked which domain each of {number:,} questions "
            f"is of: at most {number:,} calls, and one more for each answer that names none; "
            "answers in the store cost nothing"
        )
        ledger = start_ledger(storage.sub(layout.LEDGER), responses, caps, prices)
        try:
            with display.task("name domains", number) as task:
                engines = pool().reporting_to(task.report)
                teacher = Teacher(engines, ledger, responses, tier, prompts)
                return ask_domains(questions, names, teacher, task.advance)
        finally:
            ray.kill(ledger)
            spent = replay(storage, caps, prices).summary().to_dict()["by_purpose"].get("domain")
            if spent:
                tokens = spent["prompt_tokens"] + spent["completion_tokens"]
                display.say(
                    f"  {spent['calls']:,} calls, {tokens:,} tokens so far for domains"
                    + (f", cost {spent['cost']:,.4g}" if spent["cost"] else "")
                )

    return name
