"""How many runs fit at a time: what each of them reserves at once, on the nodes that there are."""

from __future__ import annotations

import pytest

from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.errors import ResourceError
from baldistill.placement.parallel_runs import num_parallel_runs
from baldistill.placement.resources import Cluster, place

ONE_EACH = ["teacher.resources.replicas=1", "student.resources.replicas=1"]
WHOLE_CPUS = ["teacher.resources.num_cpus=1", "student.resources.num_cpus=1"]


def config_of(*overrides: str) -> Config:
    return load_config(None, overrides)


def width(cluster: Cluster, *overrides: str) -> int:
    return num_parallel_runs([config_of(*overrides)], cluster, 20)


def test_pools_drivers_and_ray_data_are_counted() -> None:
    # 0.5 CPU of engines, a driver, and one for Ray Data
    assert width(Cluster.single(4), *ONE_EACH) == 1
    assert width(Cluster.single(5), *ONE_EACH) == 2
    assert width(Cluster.single(25), *ONE_EACH) == 10
    assert num_parallel_runs([config_of(*ONE_EACH)], Cluster.single(25), 3) == 3, (
        "no more than wanted"
    )


def test_a_training_worker_takes_the_cpus_that_it_is_given() -> None:
    workers = ["student.num_workers=2", "student.worker_resources.num_cpus=14"]
    assert width(Cluster.single(32), *ONE_EACH, *workers) == 1
    assert width(Cluster.single(60), *ONE_EACH, *workers) == 2
    others = ["student.num_workers=2", "student.worker_resources.num_cpus=8"]
    assert width(Cluster.single(20), *ONE_EACH, *WHOLE_CPUS, *others) == 1


def test_engines_that_may_join_later_are_counted() -> None:
    grows = ["teacher.resources.replicas={min: 1, max: 8}", "student.resources.replicas=1"]
    assert width(Cluster.single(16), *WHOLE_CPUS, *grows) == 1
    assert width(Cluster.single(22), *WHOLE_CPUS, *grows) == 2


def test_custom_resources_are_counted() -> None:
    pinned = [*ONE_EACH, "teacher.resources.custom_resources={big: 1}"]
    assert width(Cluster(({"CPU": 16.0, "big": 1.0},)), *pinned) == 1
    assert width(Cluster(({"CPU": 16.0, "big": 3.0},)), *pinned) == 3


def test_an_engine_stays_on_a_node() -> None:
    nodes = Cluster(({"CPU": 5.0},) * 9)
    large = ["teacher.resources.replicas=2", "teacher.resources.num_cpus=3"]
    assert width(nodes, *large) == 4, "each node holds one engine of three CPUs, not 1.7"


def test_gpus_are_counted_one_by_one() -> None:
    config = [*ONE_EACH, "student.num_workers=1"]
    assert width(Cluster.single(32, 8), *config) == 2, "three GPUs each"
    assert width(Cluster.single(32, 3), *config) == 1
    assert width(Cluster.single(32, 8)) == 1, "auto takes all GPUs"


def test_drivers_that_train_on_a_gpu_do_so_one_at_a_time() -> None:
    assert width(Cluster.single(32, 8), *ONE_EACH, "student.num_workers=0") == 1


def test_runs_whose_engines_take_turns_are_counted_step_by_step() -> None:
    turns = [*ONE_EACH, "student.num_workers=1", "cluster.keep_warm=never"]
    assert width(Cluster.single(32, 3), *turns) == 3, "one GPU at a time each"


def test_an_autoscaling_cluster_is_judged_by_what_it_can_have() -> None:
    grown = "cluster.nodes=[{count: 2, resources: {CPU: 25}}]"
    assert width(Cluster.single(4), *ONE_EACH, grown) == 20


def test_the_largest_run_decides() -> None:
    configs = [config_of(*ONE_EACH), config_of("student.num_workers=8", *ONE_EACH)]
    assert num_parallel_runs(configs, Cluster.single(25), 20) == 2


def test_a_run_that_fits_alone_goes_alone() -> None:
    place(config_of(*ONE_EACH), Cluster.single(2))
    assert num_parallel_runs([config_of(*ONE_EACH)], Cluster.single(2), 20, parallel=1) == 1


def test_more_at_a_time_than_fit_are_refused() -> None:
    configs = [config_of(*ONE_EACH), config_of("student.num_workers=8", *ONE_EACH)]
    with pytest.raises(ResourceError, match=r"at most --parallel 2\b.*num_workers") as caught:
        num_parallel_runs(configs, Cluster.single(25), 20, parallel=3)
    assert "1 x (25 CPU)" in str(caught.value)
    assert num_parallel_runs(configs, Cluster.single(25), 2, parallel=3) == 2, "two runs are all"
