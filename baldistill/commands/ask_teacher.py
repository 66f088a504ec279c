"""The teacher of a run at a prompt, beside the student: behind the run's ledger and its store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.core.ledger import Caps
from baldistill.core.own_task import is_own_task
from baldistill.data.labels import label_sets
from baldistill.generation.pool import Pool
from baldistill.placement.cluster import connected
from baldistill.placement.engines import asked_alone
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.records import Example
from baldistill.run_folder import layout
from baldistill.run_folder.ledger_log import check_last_segment
from baldistill.run_folder.lock import only_run_in, only_user_of
from baldistill.run_folder.reader import RunFolder, read_run
from baldistill.run_folder.trust import check_code_is_safe
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.solving import solve
from baldistill.teacher.teacher import Teacher


@dataclass(frozen=True, slots=True)
class TeacherReply:
    """The teacher's reply to a question.

    Attributes:
        text: All that it wrote; empty if there is no answer.
        answer: The answer that an evaluation would read in it; None if it finds none.
        reason: Why there is no text; None where there is one.
    """

    text: str
    answer: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class RunTeacher:
    """The teacher of a run, or those of its cascade.

    A question that it was asked before is answered from the store. Every other call is on the run's
    ledger (purpose `question`), within its caps on calls, tokens and money.
    """

    config: Config
    teachers: tuple[Teacher, ...]

    def ask(
        self, question: str, *, domain: str, context: Sequence[Mapping[str, str]] | None = None
    ) -> TeacherReply:
        """Return the teacher's reply to a question of a domain, in a chat by option."""
        turns = [dict(turn) for turn in context] if context else None
        example = Example("of the prompt", domain, question, answer="", context=turns)
        (solved,) = solve([example], self.teachers, self.config, "question")
        reason = solved.left_out and (solved.answer.failure or solved.left_out)
        return TeacherReply(solved.answer.text, solved.conclusion, reason)


@contextmanager
def opened_teacher(
    run: str | Path,
    *,
    store: str | Path | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> Iterator[RunTeacher]:
    """Hold a run's folder, and start its teacher on Ray until the block ends.

    Args:
        run: A run folder: path or URI.
        store: Where the run has its answers, if not in its folder.
        address: Of a Ray cluster.
        verbose: Show Ray's own messages.

    Raises:
        UserError: A run is at work in the folder, or the teacher does not fit or start.
    """
    folder = read_run(run)
    storage = folder.storage
    config = load_config(storage.uri_of(layout.CONFIG))
    if any(map(is_own_task, config.tasks)):
        check_code_is_safe(storage, config)
    with ExitStack() as stack:
        stack.enter_context(only_run_in(storage))
        answers = Storage.open(store) if store else storage.sub(layout.RESPONSES)
        stack.enter_context(only_user_of(answers, storage))
        check_last_segment(storage)
        cluster = stack.enter_context(connected(address, verbose=verbose))
        check_storage_is_shared(storage)
        responses = ResponseStore(answers)
        tiers = range(len(config.teacher.tiers))
        pools = stack.enter_context(asked_alone(config, cluster, responses, tiers))
        budget, prices = config.budget, tuple(tier.prices for tier in config.models_asked)
        caps = Caps(budget.total, budget.calls, budget.tokens, budget.cost)
        ledger = start_ledger(storage.sub(layout.LEDGER), responses, caps, prices)
        stack.callback(ray.kill, ledger)
        yield RunTeacher(config, _teachers(config, folder, pools, ledger, responses))


def _teachers(
    config: Config,
    folder: RunFolder,
    pools: Mapping[int, Pool],
    ledger: object,
    responses: ResponseStore,
) -> tuple[Teacher, ...]:
    labels = label_sets(config, folder.counts, folder.storage)
    return tuple(
        Teacher(
            pools[number],
            ledger,
            responses,
            tier,
            load_prompts(tier.prompts, model=tier.model).with_labels(labels),
            number + 1,
        )
        for number, tier in enumerate(config.teacher.tiers)
    )
