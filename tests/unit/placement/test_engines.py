"""Which runs may use engines that run already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from servers.fault_server import FaultServer, running

from baldistill.answers.store import ResponseStore
from baldistill.commands.run import run
from baldistill.config.engines import TransformersOptions, VllmOptions
from baldistill.config.loading import load_config
from baldistill.errors import UserError
from baldistill.generation.types import Request, Sampling
from baldistill.placement.engines import Engines
from baldistill.placement.resources import Cluster, place
from baldistill.storage import Storage


@pytest.mark.parametrize(
    ("override", "serves"),
    [
        ("student.epochs=7", True),
        ("student.response.max_new_tokens=5", True),
        ("teacher.rationale.temperature=0.5", False),
        ("student.model=another", False),
        ("student.engine.dtype=float32", False),
        ("student.resources.replicas=1", False),
        ("student.num_workers=2", False),
        ("student.worker_resources.num_cpus=2", False),
        ("cluster.keep_warm=never", False),
    ],
)
def test_engines_serve_what_is_placed_as_they_are(override: str, serves: bool) -> None:
    config, machine = load_config(), Cluster.single(4)
    engines, store = Engines(config, place(config, machine)), ResponseStore(Storage.open("x"))
    assert engines.serves(load_config(None, [override]), store) == serves


def test_engines_that_write_answers_serve_one_store() -> None:
    config, store = load_config(), ResponseStore(Storage.open("x"))
    engines = Engines(config, place(config, Cluster.single(4)), store)
    assert engines.serves(config, replace(store, in_flight="another"))
    assert not engines.serves(config, ResponseStore(Storage.open("y")))


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_teacher_behind_a_server_writes_into_the_store(tmp_path: Path) -> None:
    store = ResponseStore(Storage.open(tmp_path / "responses"))
    with running(FaultServer()) as url:
        teacher = ["teacher.kind=openai", "teacher.model=m", f"teacher.base_url={url}"]
        config = load_config(None, teacher)
        engines = Engines(config, place(config, Cluster.single(4)), store)
        (answer,) = engines.teacher().generate([Request("r", "Question")], Sampling(20))
        engines.close()
    assert store.index(store.segments()) == {"r": answer.segment}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_run_takes_the_placement_of_its_engines_whatever_nodes_there_are_now(
    tmp_path: Path,
) -> None:
    config = load_config(None, [f"data.train={tmp_path / 'none.jsonl'}"])
    before = place(config, Cluster.single(2))
    assert before != place(config, Cluster.single(4)), "Ray has four CPUs now"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text("{}")  # so that no engine starts
    with pytest.raises(UserError, match=r"none\.jsonl"):  # which it reads with its engines at hand
        run(config, run_dir=tmp_path / "run", engines=Engines(config, before), quiet=True)


def test_engines_of_vllm_serve_no_run_that_reads_states() -> None:
    placed = place(load_config(None, []), Cluster.single(4))
    store = ResponseStore(Storage.open("x"))
    reading = load_config(None, ["selection.diversity=badge"])
    for engine, serves in ((TransformersOptions(), True), (VllmOptions(), False)):
        engines = Engines(load_config(None, []), replace(placed, student_engine=engine))
        assert engines.serves(reading, store) == serves
        assert engines.serves(load_config(None, ["selection.diversity=alps"]), store)
