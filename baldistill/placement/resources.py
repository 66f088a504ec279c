"""Decide who gets which resources of the cluster before anything starts: pure."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from baldistill.config import Config, StudentConfig
from baldistill.config.engines import EngineConfig, TransformersOptions, VllmOptions
from baldistill.config.placement import EngineResources, NodeResources
from baldistill.errors import ResourceError
from baldistill.placement.errors import why_it_does_not_fit
from baldistill.placement.packing import Amounts, Demand, bundle_of, capacity, fits, nodes_with

PLACEMENT_KEYS = (
    *("cluster", "teacher", "tail.verifier", "judge", "student.model", "student.engine"),
    *("student.resources", "student.num_workers", "student.worker_resources"),
)
"""Config keys that decide which engines run, and who gets which resources."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes that Ray offers."""

    nodes: tuple[Amounts, ...]

    @classmethod
    def single(cls, num_cpus: float, num_gpus: float = 0) -> Cluster:
        """Return a cluster of one machine."""
        return cls(({"CPU": num_cpus, "GPU": num_gpus},))

    @property
    def num_cpus(self) -> float:
        """Return the CPUs of all nodes."""
        return sum(node.get("CPU", 0.0) for node in self.nodes)

    @property
    def num_gpus(self) -> float:
        """Return the GPUs of all nodes."""
        return sum(node.get("GPU", 0.0) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class PoolShape:
    """The engines of a pool.

    Attributes:
        replicas: Number of engines that the cluster must hold now.
        bundle: What an engine reserves; for an engine on several GPUs, what it reserves for each.
        size: Bundles of an engine.
        one_node: Whether all bundles of an engine are on one node.
        batch_size: Prompts that an engine gets at once.
        max_replicas: Number of engines that Ray is asked for. It is more than `replicas` where the
            cluster's autoscaler may bring nodes for them.
    """

    replicas: int
    bundle: Amounts
    size: int
    one_node: bool
    batch_size: int
    max_replicas: int

    @property
    def num_cpus(self) -> float:
        """Return the CPUs of one engine."""
        return self.bundle.get("CPU", 0.0) * self.size

    @property
    def num_gpus(self) -> float:
        """Return the GPUs of one engine."""
        return self.bundle.get("GPU", 0.0) * self.size

    def demand(self, key: str, count: int) -> Demand:
        """Return what so many engines need, asked for by a config key."""
        return Demand(key, self.bundle, count, self.size, self.one_node)


@dataclass(frozen=True, slots=True)
class Placement:
    """The assignment of resources to the processes of a run.

    Attributes:
        teachers: The pool of each of `config.models_asked`.
        student_engine: What runs the student; `auto` is resolved.
        num_workers: Ray Train workers; 0 trains in the driver.
        take_turns: Whether a pool is closed before training and before the other pool starts,
            because the cluster cannot hold all side by side or `cluster.keep_warm` says so.
        keep_workers: Whether training workers stay between the trainings of a run: never where
            pools take turns, else if the cluster holds them beside all pools and Ray Data.
    """

    teachers: tuple[PoolShape, ...]
    student: PoolShape
    student_engine: TransformersOptions | VllmOptions
    num_workers: int
    worker: Amounts
    take_turns: bool
    keep_workers: bool


_ROWS, _ROWS_ON_GPU = 64, 512

RAY_DATA = Demand("Ray Data", {"CPU": 1.0})
"""The least that Ray Data needs to make any progress."""


def place(config: Config, cluster: Cluster) -> Placement:
    """Resolve `auto` and check that every step fits.

    Raises:
        ResourceError: A step does not fit; it names the need, the nodes and the config key.
    """
    nodes = nodes_of(config, cluster)
    keys = _teacher_keys(config)
    teachers = tuple(_teacher(config, nodes, number) for number in range(len(keys)))
    engine = _student_engine(config, nodes)
    student = _pool(
        "student.resources",
        config.student.resources,
        engine,
        nodes,
        config.student.model == "bundled",
    )
    training = _training(config.student, nodes)
    asking = [pool.demand(key, pool.replicas) for key, pool in zip(keys, teachers, strict=True)]
    answering = [student.demand("student.resources", student.replicas)]
    # Engines that join later must not hold what the training waits for, so the most count.
    pools = zip([*keys, "student.resources"], (*teachers, student), strict=True)
    most = [pool.demand(key, pool.max_replicas) for key, pool in pools]
    work = [RAY_DATA, *([training] if training.count else [])]

    # Ray Data and the training never work at the same time.
    keep = config.cluster.keep_warm
    warm = keep == "always" or (keep == "auto" and all(fits(nodes, [*most, task]) for task in work))
    if config.tail.window is not None and config.stages > 1 and not warm:
        raise ResourceError(
            "tail.window lets the student answer while the teacher writes, and here their engines "
            "take turns: give the cluster room for both beside the training, with "
            "cluster.keep_warm=auto, or leave tail.window out"
        )
    if warm:
        steps = [[*asking, *answering, task] for task in work]
    else:
        steps = [[*asking, RAY_DATA], [*answering, RAY_DATA], *[[task] for task in work]]
    for step in steps:
        if not fits(nodes, step):
            raise ResourceError(why_it_does_not_fit(nodes, step))
    keep_workers = warm and fits(nodes, [*most, *work])
    return Placement(
        teachers, student, engine, training.count, training.bundle, not warm, keep_workers
    )


def place_asked(config: Config, cluster: Cluster, numbers: Iterable[int]) -> dict[int, PoolShape]:
    """Return the pools of some of `config.models_asked`, where nothing else is to run.

    Args:
        config: Of a run, whose student and training are left out.
        cluster: What Ray offers.
        numbers: Which of `config.models_asked`, counted from 0.

    Raises:
        ResourceError: They do not fit side by side.
    """
    nodes, keys = nodes_of(config, cluster), _teacher_keys(config)
    pools = {number: _teacher(config, nodes, number) for number in numbers}
    needed = [pool.demand(keys[number], pool.replicas) for number, pool in pools.items()]
    if not fits(nodes, needed):
        raise ResourceError(why_it_does_not_fit(nodes, needed))
    return pools


def nodes_of(config: Config, cluster: Cluster) -> Sequence[Amounts]:
    """Return the nodes that there can be (`cluster.nodes`), or else the nodes that there are."""
    if config.cluster.nodes:
        return [node.resources for node in config.cluster.nodes for _ in range(node.count)]
    return cluster.nodes


def _teacher_keys(config: Config) -> list[str]:
    keys = [f"teacher.tiers[{i}].resources" for i in range(len(config.teacher.tiers))]
    keys = ["teacher.resources"] if len(keys) == 1 else keys
    keys += ["tail.verifier.resources"] * (config.tail.verifier is not None)
    return keys + ["judge.teacher.resources"] * (config.judge is not None)


def _teacher(config: Config, nodes: Sequence[Amounts], number: int) -> PoolShape:
    """Return the pool of one of `config.models_asked`."""
    key, tier = _teacher_keys(config)[number], config.models_asked[number]
    return _pool(key, tier.resources, tier, nodes, tier.model == "bundled")


def _pool(
    key: str,
    resources: EngineResources,
    engine: EngineConfig,
    nodes: Sequence[Amounts],
    bundled: bool,
) -> PoolShape:
    num_gpus = resources.num_gpus
    if num_gpus == "auto":
        num_gpus = float(engine.gpus_per_replica) if _have_gpus(nodes, resources) else 0.0
    size = engine.gpus_per_replica if num_gpus > 0 else 1
    if (num_gpus > 1 and num_gpus != size) or num_gpus < size > 1:
        raise ResourceError(
            f"{key}.num_gpus={num_gpus:g}, but an engine is on {size}: leave num_gpus at "
            "`auto`, or change tensor_parallel_size and pipeline_parallel_size"
        )
    size = max(1, size)
    bundle = _bundle(resources, resources.num_cpus / size, num_gpus / size)
    shape = Demand(key, bundle, size=size)
    one_node = size == 1 or capacity(nodes, shape) > 0
    chosen = resources.replica_range
    most = 0
    if chosen is not None:
        replicas, most = chosen
    elif num_gpus > 0:
        group = Demand(key, bundle, size=size, one_node=one_node)
        replicas = max(1, capacity(nodes, group))
    elif engine.kind == "transformers" and bundled:
        replicas = max(1, min(int(sum(node.get("CPU", 0.0) for node in nodes)), 4))
    else:  # one engine: vLLM and a server's client batch enough, a large model fills the memory
        replicas = 1
    rows = resources.batch_size
    if rows == "auto":
        rows = _ROWS_ON_GPU if engine.kind == "transformers" and num_gpus > 0 else _ROWS
    if engine.kind == "openai" and engine.batch_api is not None:
        rows = engine.batch_api.rows
    return PoolShape(replicas, bundle, size, one_node, rows, max(replicas, most))


def _student_engine(config: Config, nodes: Sequence[Amounts]) -> TransformersOptions | VllmOptions:
    """Resolve `auto`. The driver's packages stand for those of the nodes."""
    student = config.student
    if student.engine.kind != "auto":
        return student.engine
    reserved = student.resources.num_gpus
    on_gpu = _have_gpus(nodes, student.resources) if reserved == "auto" else reserved > 0
    # vLLM takes most of a GPU's memory, which a fraction of a GPU does not have
    whole = reserved == "auto" or reserved >= 1
    can_vllm = importlib.util.find_spec("vllm") is not None and not config.selection.reads_states
    return student.engine.chosen(on_gpu=on_gpu and whole, has_vllm=can_vllm)


def _training(student: StudentConfig, nodes: Sequence[Amounts]) -> Demand:
    """Return the workers of Ray Train, which may be on any nodes."""
    resources = student.worker_resources
    num_gpus = resources.num_gpus
    if num_gpus == "auto":
        num_gpus = 1 if _have_gpus(nodes, resources) else 0
    num_cpus = resources.num_cpus
    if num_cpus == "auto":
        num_cpus = 0.0 if num_gpus else 1.0
    worker = Demand("student.num_workers", _bundle(resources, num_cpus, num_gpus))
    if student.num_workers != "auto":
        count = student.num_workers
    else:
        count = capacity(nodes, worker) if num_gpus else 0
    return Demand(worker.key, worker.bundle, count=count)


def _bundle(resources: NodeResources, num_cpus: float, num_gpus: float) -> dict[str, float]:
    return bundle_of(num_cpus, num_gpus, resources.accelerator_type, resources.custom_resources)


def _have_gpus(nodes: Sequence[Amounts], resources: NodeResources) -> bool:
    return bool(nodes_with(nodes, _bundle(resources, 0.0, 1.0)))
