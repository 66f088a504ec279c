"""The engines of a run. They outlive its steps and stages, and may serve several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter

import ray

from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.config.engines import EngineConfig
from baldistill.generation.bundles import alone
from baldistill.generation.model_ref import ModelRef
from baldistill.generation.openai.key import check_key
from baldistill.generation.pool import Pool, result_of
from baldistill.placement.resources import PLACED, Placement, PoolShape

_decisive = attrgetter(*PLACED)


class Engines:
    """Teacher's and student's pools, started on first use.

    Where the cluster cannot hold both and the training, only the one in use is kept: the rule is
    `Placement.take_turns`.
    """

    def __init__(
        self, config: Config, placement: Placement, responses: ResponseStore | None = None
    ) -> None:
        """Nothing starts yet.

        Args:
            config: Names the models.
            placement: Says how many actors, with what.
            responses: In which teachers behind a server write their answers at once; where it is
                left out, the driver writes them.
        """
        self.placement = placement
        self._config = config
        self._responses = responses
        self._teachers: dict[int, Pool] = {}
        self._student: Pool | None = None

    def serves(self, config: Config, responses: ResponseStore) -> bool:
        """Whether a run with this config and store can use these engines as they are.

        It then takes their placement too, whatever nodes have come or gone since.
        """
        stored = self._responses is None or self._responses.storage == responses.storage
        return stored and _decisive(config) == _decisive(self._config)

    def warm(self, say: Callable[[str], None]) -> None:
        """Start what the run will need while the corpus is read; the actors load on their own.

        A package or key that is missing, and a model that vLLM cannot hold, are told now, and not
        after a corpus was read for hours or a teacher was paid. Where pools take turns, each of
        vLLM's is started for it, and the last stays: one more start, where each stage makes two
        or three.

        Args:
            say: Told what is waited for.

        Raises:
            UserError: An engine will not work.
        """
        config = self._config
        student = (config.student.engine, partial(self.student, base_student(config)))
        explains = config.student.target == "rationale" or config.tail.fill == "synthesize"
        teachers = []
        if config.budget.total > 0 and explains:
            _check_keys(config.teacher.tiers, self.placement.teachers)
            teachers = [
                (tier, partial(self.teacher, i)) for i, tier in enumerate(config.teacher.tiers)
            ]
        # the one that the run uses first comes last
        pools: list[tuple[EngineConfig, Callable[[], Pool]]]
        pools = [*teachers, student] if config.evaluation.base_student else [student, *teachers]
        if not self.placement.take_turns:
            for _, start in pools:
                start()
        tried = [start for engine, start in pools if engine.kind == "vllm"]
        if tried:
            say("starting vLLM ...")
        for start in tried:
            start().wait()

    def student(self, model: ModelRef) -> Pool:
        """The student's engines, answering with the given model."""
        if self.placement.take_turns:
            self._close_teachers()
        if self._student is None:
            self._student = _start(self._config.student.engine, model, self.placement.student)
        return self._student.using(model)

    def teacher(self, tier: int = 0) -> Pool:
        """The engines of a teacher; `tier` counts those of a cascade from 0."""
        if self.placement.take_turns:
            self._close_student()
        if tier not in self._teachers:
            teacher = self._config.teacher.tiers[tier]
            model = ModelRef("bundled-teacher" if teacher.model == "bundled" else teacher.model)
            journals = None if self._responses is None else self._responses.journals()
            self._teachers[tier] = _start(teacher, model, self.placement.teachers[tier], journals)
        return self._teachers[tier]

    def make_room(self) -> None:
        """Close what would stand in the way of training."""
        if self.placement.take_turns:
            self.close()

    def close(self) -> None:
        """End all engines."""
        self._close_teachers()
        self._close_student()

    def _close_teachers(self) -> None:
        for pool in self._teachers.values():
            pool.close()
        self._teachers.clear()

    def _close_student(self) -> None:
        if self._student is not None:
            self._student.close()
            self._student = None


def base_student(config: Config) -> ModelRef:
    """The student before any training."""
    model = config.student.model
    return ModelRef("bundled-student" if model == "bundled" else model)


def _check_keys(teachers: Sequence[EngineConfig], shapes: Sequence[PoolShape]) -> None:
    """Look for keys where the engines would run: other nodes may well lack them."""
    checks = [
        ray.remote(check_key).options(**alone(shape.bundle)).remote(teacher)
        for teacher, shape in zip(teachers, shapes, strict=True)
        if teacher.kind == "openai"
    ]
    for check in checks:
        result_of(check)


def _start(
    config: EngineConfig, model: ModelRef, shape: PoolShape, journals: str | None = None
) -> Pool:
    return Pool.start(
        config,
        model,
        replicas=shape.max_replicas,
        bundle=shape.bundle,
        bundles=shape.size,
        one_node=shape.one_node,
        batch_size=shape.batch_size,
        journals=journals,
    )
