"""What fits, and what is said when it does not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.errors import ConfigError, ResourceError
from baldistill.placement.resources import Cluster, place, place_asked

ROOT = Path(__file__).resolve().parents[3]
A100 = {"CPU": 96.0, "GPU": 8.0, "teacher": 8.0, "accelerator_type:A100": 1.0}
L4 = {"CPU": 48.0, "GPU": 4.0, "student": 4.0, "accelerator_type:L4": 1.0}
HEAD = {"CPU": 8.0}
PINNED = [
    "teacher.resources.custom_resources={teacher: 1}",
    "student.resources.custom_resources={student: 1}",
    "student.worker_resources.custom_resources={student: 1}",
]


def config_of(*overrides: str) -> Config:
    return load_config(None, overrides)


def test_a_laptop_with_two_cores_holds_the_quickstart() -> None:
    placement = place(load_config(), Cluster.single(2))
    assert (placement.teachers[0].replicas, placement.student.replicas) == (2, 2)
    assert (placement.num_workers, placement.worker) == (0, {"CPU": 1.0})
    assert not placement.take_turns


def test_engines_take_turns_when_they_do_not_fit_side_by_side() -> None:
    placement = place(Config(), Cluster.single(16, 1))
    assert placement.teachers[0].num_gpus == placement.student.num_gpus == 1
    assert (placement.num_workers, placement.worker) == (1, {"GPU": 1})
    assert placement.take_turns


def test_all_side_by_side_where_there_is_room() -> None:
    config = config_of(
        "teacher.resources.replicas=2", "student.resources.replicas=2", "student.num_workers=4"
    )
    assert not place(config, Cluster.single(32, 8)).take_turns
    assert place(config, Cluster.single(32, 7)).take_turns


def test_training_workers_stay_where_there_is_room_for_them_beside_ray_data() -> None:
    config = config_of(
        "teacher.resources={replicas: 1, num_cpus: 1}",
        "student.resources={replicas: 1, num_cpus: 1}",
        "student.num_workers=2",
    )
    roomy, tight = place(config, Cluster.single(5)), place(config, Cluster.single(4))
    assert roomy.keep_workers
    assert not roomy.take_turns
    assert not tight.keep_workers, "Ray Data would wait for a CPU for ever"
    assert not tight.take_turns
    never = config_of("student.num_workers=2", "cluster.keep_warm=never")
    assert not place(never, Cluster.single(32)).keep_workers


def test_engines_are_given_more_rows_at_once_on_a_gpu() -> None:
    config = config_of("student.engine=transformers")
    assert place(config, Cluster.single(8)).student.batch_size == 64
    assert place(config, Cluster.single(8, 1)).student.batch_size == 512
    chosen = config_of("student.engine=transformers", "student.resources.batch_size=8")
    assert place(chosen, Cluster.single(8, 1)).student.batch_size == 8


def test_keep_warm_forbids_and_forces_taking_turns() -> None:
    small = ["teacher.resources.replicas=1", "student.resources.replicas=1"]
    never = config_of(*small, "student.num_workers=1", "cluster.keep_warm=never")
    assert place(never, Cluster.single(32, 8)).take_turns
    always = config_of(*small, "student.num_workers=1", "cluster.keep_warm=always")
    assert not place(always, Cluster.single(32, 3)).take_turns
    with pytest.raises(ResourceError, match=r"leave cluster\.keep_warm at `auto`"):
        place(always, Cluster.single(32, 2))


def test_pools_and_workers_are_pinned_to_node_types() -> None:
    placement = place(config_of(*PINNED), Cluster((HEAD, A100, L4, L4)))
    assert placement.teachers[0].replicas == 8
    assert placement.student.replicas == placement.num_workers == 8
    assert placement.worker == {"GPU": 1, "student": 1}
    assert placement.take_turns, "eight engines and eight workers on eight GPUs"
    half = ["student.resources.replicas=4", "student.num_workers=4"]
    assert not place(config_of(*PINNED, *half), Cluster((HEAD, A100, L4, L4))).take_turns


def test_an_accelerator_type_chooses_nodes() -> None:
    config = config_of("student.resources.accelerator_type=L4", "student.num_workers=0")
    placement = place(config, Cluster((HEAD, A100, L4)))
    assert placement.student.replicas == 4
    assert placement.student.bundle["accelerator_type:L4"] > 0


def test_nodes_of_cpus_alone_hold_a_pinned_pool_without_gpus() -> None:
    config = config_of("student.resources.custom_resources={cheap: 1}", "student.num_workers=0")
    placement = place(config, Cluster((A100, {"CPU": 16.0, "cheap": 4.0})))
    assert placement.student.num_gpus == 0


@pytest.mark.parametrize(
    ("overrides", "gpus", "kind"),
    [
        ([], 0, "transformers"),
        ([], 1, "vllm"),
        (["student.engine=auto"], 1, "vllm"),
        (["selection.diversity=kmeans"], 1, "transformers"),  # vLLM shows no hidden states
        (["selection.diversity=alps"], 1, "vllm"),
        (["student.engine=transformers"], 1, "transformers"),
        (["student.resources.num_gpus=0"], 1, "transformers"),
        (["student.resources.num_gpus=0.5"], 1, "transformers"),
        (["student.resources.num_gpus=1"], 1, "vllm"),
    ],
)
def test_vllm_runs_the_student_where_it_is_installed_and_a_gpu_is_there(
    overrides: list[str], gpus: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for installed in (True, False):
        (tmp_path / "vllm").mkdir(exist_ok=True)  # found on the path, and never imported
        (tmp_path / "vllm" / "__init__.py").touch()
        monkeypatch.delitem(sys.modules, "vllm", raising=False)  # other tests may have imported it
        monkeypatch.setattr(sys, "path", [str(tmp_path)] if installed else [])
        importlib.invalidate_caches()
        engine = place(config_of(*overrides), Cluster.single(16, gpus)).student_engine
        assert engine.kind == (kind if installed else "transformers")


TENSOR = ["teacher.kind=vllm", "teacher.model=big", "student.num_workers=0"]


def test_tensor_parallel_engines_stay_on_a_node_where_one_holds_them() -> None:
    config = config_of(*TENSOR, "teacher.tensor_parallel_size=4")
    teacher = place(config, Cluster((HEAD, A100, L4))).teachers[0]
    assert (teacher.replicas, teacher.size, teacher.num_gpus) == (3, 4, 4)
    assert teacher.one_node
    assert teacher.num_cpus == pytest.approx(0.25), "an engine's CPUs, not each GPU's"


def test_larger_engines_spread_over_nodes() -> None:
    config = config_of(
        *TENSOR, "teacher.tensor_parallel_size=8", "teacher.pipeline_parallel_size=2"
    )
    teacher = place(config, Cluster((HEAD, A100, A100))).teachers[0]
    assert (teacher.replicas, teacher.size, teacher.one_node) == (1, 16, False)


@pytest.mark.parametrize(
    ("overrides", "cluster", "words"),
    [
        ([], Cluster.single(1), ["needs 1.25 CPU", "has 1 x (1 CPU)", "teacher.resources"]),
        (["teacher.resources.replicas=9"], Cluster.single(2), ["9 x (0.25 CPU)", "replicas"]),
        (["student.num_workers=4"], Cluster.single(2), ["nodes hold 2", "student.num_workers"]),
        (
            ["teacher.resources.replicas=2"],
            Cluster.single(8, 1),
            ["teacher.resources need 2 x", "nodes hold 1", "teacher.resources.replicas"],
        ),
        (
            ["student.num_workers=3"],
            Cluster.single(8, 2),
            ["workers need 3 x (1 GPU)", "hold 2", "lower student.num_workers"],
        ),
        (
            ["teacher.resources.num_gpus=0.6", "teacher.resources.replicas=2"],
            Cluster.single(8, 1),
            ["2 x (0.25 CPU, 0.6 GPU)", "nodes hold 1"],
        ),
        (
            [*TENSOR, "teacher.tensor_parallel_size=8"],
            Cluster((HEAD, L4)),
            ["needs 0.25 CPU, 8 GPU", "1 x (48 CPU, 4 GPU", "teacher.tensor_parallel_size"],
        ),
        (
            [*TENSOR, "teacher.tensor_parallel_size=2", "teacher.resources.num_gpus=1"],
            Cluster.single(8, 8),
            ["teacher.resources.num_gpus=1, but an engine is on 2", "auto"],
        ),
        (
            ["teacher.resources.accelerator_type=H100"],
            Cluster((HEAD, A100, L4)),
            ["teacher.resources.accelerator_type=H100", "they have: A100, L4"],
        ),
        (
            ["student.worker_resources.custom_resources={trainer: 1}", "student.num_workers=1"],
            Cluster((HEAD, A100)),
            ["student.worker_resources.custom_resources asks for 'trainer'", "have: teacher"],
        ),
        (
            ["student.resources.num_cpus=64", "student.resources.replicas=1"],
            Cluster((HEAD, L4)),
            ["64 CPU", "on one node", "student.resources.num_cpus"],
        ),
        ([*PINNED], Cluster((HEAD,)), ["which no node has", "cluster.nodes"]),
    ],
)
def test_an_error_names_the_need_the_nodes_and_the_config_key(
    overrides: list[str], cluster: Cluster, words: list[str]
) -> None:
    with pytest.raises(ResourceError) as caught:
        place(config_of(*overrides), cluster)
    for word in words:
        assert word in str(caught.value)


def test_a_cascade_is_placed_tier_by_tier() -> None:
    tiers = "[{kind: transformers, model: small}, {kind: transformers, model: large}]"
    config = config_of("teacher.kind=cascade", f"teacher.tiers={tiers}", "student.num_workers=1")
    with pytest.raises(ResourceError, match=r"teacher\.tiers\[0\]\.resources"):
        place(config, Cluster.single(8, 1))  # both are asked at the same time


def test_an_autoscaling_cluster_is_judged_by_what_it_can_have() -> None:
    grown = ["cluster.nodes=[{resources: {CPU: 8}}, {count: 2, resources: {CPU: 96, GPU: 8}}]"]
    placement = place(config_of(*grown, "student.num_workers=8"), Cluster((HEAD,)))
    assert placement.teachers[0].replicas == 16
    with pytest.raises(ResourceError, match="nodes hold 16"):
        place(config_of(*grown, "student.num_workers=17"), Cluster((HEAD,)))


def test_the_cluster_example_fits_the_nodes_it_names() -> None:
    config = load_config(ROOT / "examples" / "cluster.yaml")
    place(config, Cluster((HEAD,)))


def test_a_gpu_is_no_custom_resource() -> None:
    with pytest.raises(ConfigError, match="use num_cpus and num_gpus"):
        config_of("teacher.resources.custom_resources={GPU: 1}")


def test_a_pool_that_grows_needs_room_for_its_fewest_engines_only() -> None:
    config = load_config(
        None,
        [
            "teacher.kind=vllm",
            "teacher.resources.replicas={min: 1, max: 8}",
            "student.num_workers=1",
        ],
    )
    placement = place(config, Cluster.single(16, 3))
    assert (placement.teachers[0].replicas, placement.teachers[0].max_replicas) == (1, 8)
    assert placement.take_turns  # engines that join later must not hold the training's GPU
    with pytest.raises(ResourceError, match=r"teacher\.resources"):
        place(
            load_config(None, ["teacher.kind=vllm", "teacher.resources.replicas={min: 8, max: 8}"]),
            Cluster.single(16, 3),
        )


def test_a_batch_api_is_given_its_rows_at_once() -> None:
    online = place(config_of("teacher.kind=openai"), Cluster.single(2)).teachers[0]
    assert online.batch_size == 8
    config = config_of("teacher.kind=openai", "teacher.batch_api.rows=5000")
    batch = place(config, Cluster.single(2)).teachers[0]
    assert (batch.batch_size, batch.replicas) == (5000, 1)


def test_who_is_asked_alone_needs_no_room_for_anybody_else(tmp_path: Path) -> None:
    (tmp_path / "rubric.md").write_text("Good is good.")
    engine = "kind: transformers, model: some/model"
    config = config_of(
        f"teacher={{{engine}, resources: {{replicas: 1, num_cpus: 3}}}}",
        f"judge={{teacher: {{{engine}, resources: {{replicas: 1, num_cpus: 2}}}}, "
        f"rubric: {tmp_path}/rubric.md}}",
        "data.task=judged",
        "student.resources={replicas: 1, num_cpus: 64}",
        "student.num_workers=64",
    )
    machine = Cluster.single(3)
    with pytest.raises(ResourceError):
        place(config, machine)
    for number, cpus in enumerate((3, 2)):
        pools = place_asked(config, machine, [number])
        assert {n: (pool.replicas, pool.num_cpus) for n, pool in pools.items()} == {
            number: (1, cpus)
        }
    with pytest.raises(ResourceError, match=r"judge\.teacher\.resources"):
        place_asked(config, machine, [0, 1])
