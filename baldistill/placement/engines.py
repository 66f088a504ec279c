"""The engines of a run, which outlive its stages and may serve several runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import attrgetter
from typing import Any

import ray

from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.config.engines import EngineConfig, TransformersOptions
from baldistill.errors import UserError
from baldistill.generation.openai.key import check_key
from baldistill.generation.pool import (
    Pool,
    options_for_bundle,
    result_of,
    variables_for_bundle,
)
from baldistill.generation.types import ModelRef
from baldistill.placement.resources import (
    PLACEMENT_KEYS,
    Cluster,
    Placement,
    PoolShape,
    place_asked,
)
from baldistill.storage import Storage
from baldistill.student.packages import check_packages

_placement_values = attrgetter(*PLACEMENT_KEYS)


class Engines:
    """Teacher's and student's pools, each started on first use.

    Where pools take turns (`Placement.take_turns`), only the pool in use is kept.
    """

    def __init__(
        self, config: Config, placement: Placement, responses: ResponseStore | None = None
    ) -> None:
        """Remember what to start.

        Engines of a teacher behind a server note each call in the store before they send it, and
        write each answer as it comes, if the store is on a disk. Without a store they do neither.
        """
        self.placement = placement
        self._config = config
        self._responses = responses
        self._teachers: dict[int, Pool] = {}
        self._student: Pool | None = None
        self._student_engine = placement.student_engine

    def serves(self, config: Config, responses: ResponseStore) -> bool:
        """Return whether a run with this config and store can use these engines as they are.

        The run then uses their placement too, whatever nodes have come or gone since.
        """
        same_store = self._responses is None or self._responses.storage == responses.storage
        shows_states = not config.selection.reads_states or self._student_engine.kind != "vllm"
        same_places = _placement_values(config) == _placement_values(self._config)
        return same_store and shows_states and same_places

    def warm(self, say: Callable[[str], None]) -> None:
        """Start the engines, which load their models while the driver reads the corpus.

        A missing package or key, or a model that vLLM cannot hold, is an error now, and not after
        hours of reading or after a teacher was paid. Where pools take turns, each vLLM pool is
        started once as a check, and the last one stays. `say` gets a message before a wait.

        Raises:
            UserError: An engine will not work.
        """
        config = self._config
        if config.budget.total > 0:
            check_packages(config.student)
        student = (self._student_engine, partial(self.student, base_student(config)))
        asked = _asked(config)
        _check_keys(
            [config.models_asked[i] for i in asked], [self.placement.teachers[i] for i in asked]
        )
        teachers = [(config.models_asked[i], partial(self.teacher, i)) for i in asked]
        # Start last the pool that the run uses first: where pools take turns, the last one stays.
        pools: list[tuple[EngineConfig, Callable[[], Pool]]]
        pools = [*teachers, student] if config.evaluation.base_student else [student, *teachers]
        if not self.placement.take_turns:
            for _, start in pools:
                start()
        vllm = [(engine, start) for engine, start in pools if engine.kind == "vllm"]
        if vllm:
            say("starting vLLM ...")
        for engine, start in vllm:
            try:
                start().wait()
            except UserError as error:
                if engine is not self._student_engine or config.student.engine.kind != "auto":
                    raise
                self._answer_without_vllm(error, say)
        scores = config.selection.metric != "random" or config.selection.diversity != "none"
        if config.selection.by != "student" and scores:
            # Load this model now, so that the user learns at once if it cannot be loaded. The same
            # engines load the student's model again when the student is first used.
            self.student(ModelRef(config.selection.by)).wait()

    def _answer_without_vllm(self, error: UserError, say: Callable[[str], None]) -> None:
        """Let transformers run the student, which `auto` gave to vLLM."""
        reason = str(error).partition("\n")[0]
        say(f"{reason}: transformers answers instead (student.engine=transformers says no more)")
        self._close_student()
        self._student_engine = TransformersOptions(dtype=self._student_engine.dtype)
        if not self.placement.take_turns:
            self.student(base_student(self._config))

    def student(self, model: ModelRef) -> Pool:
        """Return the student's pool, answering with the given model."""
        if self.placement.take_turns:
            self._close_teachers()
        if self._student is None:
            self._student = _start(self._student_engine, model, self.placement.student)
        return self._student.using(model)

    def teacher(self, tier: int = 0) -> Pool:
        """Return the pool of a teacher; `tier` counts `config.models_asked` from 0."""
        if self.placement.take_turns:
            self._close_student()
        if tier not in self._teachers:
            shape = self.placement.teachers[tier]
            self._teachers[tier] = _start_teacher(self._config, tier, shape, self._responses)
        return self._teachers[tier]

    def lend_student(self) -> dict[str, Any]:
        """Close the student's engines; return Ray's options for a process in the place of one.

        Of an engine whose GPUs are on several nodes, the process takes those of one bundle.
        """
        self.make_room()
        self._close_student()
        shape = self.placement.student
        size = shape.size if shape.one_node else 1
        bundle = {name: amount * size for name, amount in shape.bundle.items()}
        variables = variables_for_bundle(bundle)
        return {**options_for_bundle(bundle), "runtime_env": {"env_vars": variables}}

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


@contextmanager
def asked_alone(
    config: Config, cluster: Cluster, responses: ResponseStore, numbers: Iterable[int]
) -> Iterator[dict[int, Pool]]:
    """Start some of `config.models_asked` for a command that needs no other engine.

    Yields:
        The pools by number; the engines end with the block.

    Raises:
        UserError: They do not fit side by side, or have no key.
    """
    shapes = place_asked(config, cluster, numbers)
    _check_keys([config.models_asked[number] for number in shapes], [*shapes.values()])
    pools: dict[int, Pool] = {}
    try:
        for number, shape in shapes.items():
            pools[number] = _start_teacher(config, number, shape, responses)
        yield pools
    finally:
        for pool in pools.values():
            pool.close()


def _asked(config: Config) -> list[int]:
    """Return which of `config.models_asked` the run will ask."""
    writes = "synthesize" in config.tail.fills
    annotates = config.budget.total > 0 and (config.teacher_explains or writes)
    numbers: list[int] = []
    names = config.data.domains is not None and config.data.domains.names is not None
    if annotates or config.asks_about_evaluation or names:
        numbers += range(len(config.teacher.tiers))
        if writes and config.tail.verifier is not None:
            numbers.append(len(config.teacher.tiers))
    if config.judge is not None:  # it reads the answers of each evaluation
        numbers.append(len(config.models_asked) - 1)
    return numbers


def base_student(config: Config) -> ModelRef:
    """Return the student before any training."""
    model = config.student.model
    return ModelRef("bundled-student" if model == "bundled" else model)


def _check_keys(teachers: Sequence[EngineConfig], shapes: Sequence[PoolShape]) -> None:
    """Check the keys on nodes where engines would run: the driver's node may differ."""
    checks = [
        ray.remote(check_key).options(**options_for_bundle(shape.bundle)).remote(teacher)
        for teacher, shape in zip(teachers, shapes, strict=True)
        if teacher.kind == "openai"
    ]
    for check in checks:
        result_of(check)


def _start_teacher(
    config: Config, number: int, shape: PoolShape, responses: ResponseStore | None
) -> Pool:
    """Start one of `config.models_asked`."""
    teacher = config.models_asked[number]
    model = ModelRef("bundled-teacher" if teacher.model == "bundled" else teacher.model)
    answers = None if responses is None else responses.for_engines()
    return _start(teacher, model, shape, answers)


def _start(
    config: EngineConfig, model: ModelRef, shape: PoolShape, answers: Storage | None = None
) -> Pool:
    return Pool.start(
        config,
        model,
        replicas=shape.max_replicas,
        bundle=shape.bundle,
        bundles=shape.size,
        one_node=shape.one_node,
        batch_size=shape.batch_size,
        answers=answers,
    )
