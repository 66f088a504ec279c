"""The context of a run: what every step needs at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.core.ledger import Caps, Prices
from baldistill.data.summary import CorpusSummary
from baldistill.generation.dispatcher import OnProgress
from baldistill.generation.types import ModelRef, Sampling
from baldistill.placement.engines import Engines, base_student
from baldistill.progress.display import Display
from baldistill.records import seed_for
from baldistill.run_folder import layout
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.spending import replay
from baldistill.storage import Storage
from baldistill.student.workers import Workers
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import PromptSet
from baldistill.teacher.rubric_judge import Rubric, RubricJudge
from baldistill.teacher.teacher import Teacher


@dataclass(slots=True)
class Context:
    """A run in progress.

    Attributes:
        storage: The run folder.
        responses: Where the teacher's answers are kept.
        teacher_prompts: How each of `config.models_asked` is asked.
        recorded: New examples of each domain that teachers recorded, before any is tried.
        rubric: By what a judge decides, where there is one.
        counter: Actor in which workers count what they did.
    """

    config: Config
    storage: Storage
    corpus: CorpusSummary
    engines: Engines
    responses: ResponseStore
    student_prompts: PromptSet
    teacher_prompts: tuple[PromptSet, ...]
    display: Display
    counter: Any
    recorded: Mapping[str, int] = field(default_factory=dict)
    rubric: Rubric | None = None
    _ledger: Any = None
    _workers: Workers | None = None

    @property
    def response(self) -> Sampling:
        """Return the sampling of the student's responses."""
        chosen = self.config.student.response
        return Sampling(chosen.max_new_tokens, chosen.temperature, chosen.top_p)

    def seed(self, purpose: str, stage: int) -> int:
        """Return a 60-bit seed for one purpose in one stage."""
        return seed_for(self.config.seed, purpose, stage)

    @property
    def caps(self) -> Caps:
        """Return the caps on what the run may spend."""
        budget = self.config.budget
        return Caps(budget.total, budget.calls, budget.tokens, budget.cost)

    @property
    def prices(self) -> tuple[Prices, ...]:
        """Return the prices of each teacher, the verifier and the judge."""
        return tuple(model.prices for model in self.config.models_asked)

    def teachers(self, on_progress: OnProgress) -> tuple[Teacher, ...]:
        """Return the teacher, or those of a cascade, behind this run's ledger.

        All start on first use. `on_progress` is called every second while they answer.
        """
        return tuple(self._asked(i, on_progress) for i in range(len(self.config.teacher.tiers)))

    def verifier(self, on_progress: OnProgress) -> Teacher | None:
        """Return who verifies new examples, behind the same ledger; None: whoever wrote them."""
        if self.config.tail.verifier is None:
            return None
        return self._asked(len(self.config.teacher.tiers), on_progress)

    def judge(self, on_progress: OnProgress) -> RubricJudge | None:
        """Return who judges texts, behind the same ledger; None where nobody does."""
        if self.rubric is None:
            return None
        last = len(self.config.models_asked) - 1
        return RubricJudge(self._asked(last, on_progress), self.rubric)

    def _asked(self, number: int, on_progress: OnProgress) -> Teacher:
        """Return one of `config.models_asked`, counted from 0."""
        if self._ledger is None:
            log = self.storage.sub(layout.LEDGER)
            self._ledger = start_ledger(log, self.responses, self.caps, self.prices)
        return Teacher(
            self.engines.teacher(number).reporting_to(on_progress),
            self._ledger,
            self.responses,
            self.config.models_asked[number],
            self.teacher_prompts[number],
            number + 1,
        )

    @property
    def workers(self) -> Workers:
        """Return the workers that train.

        They stay for the next stage where engines may stay beside them.
        """
        if self._workers is None:
            placement = self.engines.placement
            this = ray.get_runtime_context()
            # Runs side by side, in tasks and trials, would wait for each other's idle workers.
            is_alone = this.get_task_id() is None and this.get_actor_id() is None
            keep = placement.keep_workers and is_alone
            self._workers = Workers(
                placement.num_workers, placement.worker, self.storage, keep=keep
            )
        return self._workers

    def spending(self) -> dict[str, Any]:
        """Return the ledger's summary, also where no teacher was needed."""
        return replay(self.storage, self.caps, self.prices).summary().to_dict()

    def close(self) -> None:
        """End the actors that belong to this run alone."""
        if self._workers is not None:
            self._workers.close()
        for actor in (self.counter, self._ledger):
            if actor is not None:
                ray.kill(actor)

    def student(self, stage: int) -> ModelRef:
        """Return the student after a stage; stage 0 is the base student."""
        if stage > 0:
            return ModelRef(StageLayout(stage).student, self.storage)
        return base_student(self.config)
