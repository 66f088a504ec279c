"""What a student needs: memory, by the config of its model alone, and optional packages."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import LlamaConfig

from baldistill.commands.doctor import _corpus, _packages, _storage, _teachers
from baldistill.commands.doctor_models import Need, Unknown, memory_needs
from baldistill.config.loading import load_config

FSDP = ("student.parallel=fsdp",)


@pytest.fixture(scope="module")
def llama_8b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("options", "gigabytes", "told"),
    [
        ((), 130.6, "full fine-tuning"),
        (("student.lora={rank: 16}",), 18.2, "LoRA"),
        # to train 5.7 GB and the same 2 GiB
        (("student.lora={}", "student.quantization=4bit"), 18.2, "LoRA on 4 bits, 7.3 GiB to tra"),
        (
            ("student.lora={}", "student.quantization=4bit",
             "student.engine={kind: vllm, engine_kwargs: {quantization: fp8}}"),
            7.8, "LoRA on 4 bits",
        ),
        # an eighth of 128.5 GB, 9.3 GB of gathered weights with gradients, and the same 2 GiB
        ((*FSDP, "student.num_workers=8"), 27.5, "full fine-tuning by 8 workers, 15.0 GiB of"),
        (FSDP, 43.6, "full fine-tuning by 4 workers"),
        (
            (*FSDP, "student.num_workers=8", "student.tokens_per_batch=4096",
             "student.gradient_checkpointing=true"),
            30.7, "full fine-tuning by 8 workers, 15.0 GiB of weights, gradients and optimiser on "
            "each, 8.7 GiB gathered, 3.0 GiB of activations",
        ),
        (("student.lora={}", "student.tokens_per_batch=4096"), 51.5, "LoRA, 15.0 GiB of weights,"),
        # a shared base is a whole one again when it answers
        ((*FSDP, "student.num_workers=8", "student.lora={}"), 18.2, "LoRA by 8 workers"),
    ],
)  # fmt: skip
def test_a_student_of_8b(
    llama_8b: Path, options: tuple[str, ...], gigabytes: float, told: str
) -> None:
    config = load_config(None, [f"student.model={llama_8b}", *options])
    (need,) = memory_needs(config, num_gpus=4)
    assert isinstance(need, Need)
    assert need.total / 1e9 == pytest.approx(gigabytes, abs=0.1)
    assert need.text.startswith(f"8.03 B parameters, {told}")


def test_workers_without_gpus_share_the_memory_of_a_machine(llama_8b: Path) -> None:
    options = [f"student.model={llama_8b}", *FSDP, "student.num_workers=8"]
    (need,) = memory_needs(load_config(None, options), num_gpus=0)
    assert isinstance(need, Need)
    assert need.total / 1e9 == pytest.approx(130.6, abs=0.1)


VLLM = ("teacher.kind=vllm", "teacher.max_model_len=32768")


@pytest.mark.parametrize(
    ("options", "shape", "gib", "told"),
    [
        # 32 layers x 2 x 8 heads x 128 x 2 bytes: 128 KiB a token
        (VLLM, {}, 4.0, "one prompt of 32,768 tokens"),
        ((*VLLM, "teacher.max_model_len=null"), {}, 0.5, "one prompt of 4,096 tokens"),
        ((*VLLM, "teacher.engine_kwargs={max_model_len: 8192}"), {}, 1.0, "one prompt of 8,192"),
        ((*VLLM, "teacher.engine_kwargs={kv_cache_dtype: fp8}"), {}, 2.0, "32,768 tokens"),
        ((*VLLM, "teacher.tensor_parallel_size=2"), {}, 2.0, "on 2 GPUs, 7.5 GiB of weights"),
        ((*VLLM, "teacher.tensor_parallel_size=16"), {}, 0.5, "on 16 GPUs"),
        ((*VLLM, "teacher.pipeline_parallel_size=2"), {}, 2.0, "on 2 GPUs"),
        (VLLM, {"sliding_window": 4096}, 0.5, "32,768 tokens"),
        (VLLM, {"sliding_window": 4096, "layer_types":
                ["sliding_attention"] * 24 + ["full_attention"] * 8}, 1.4, "32,768 tokens"),
        (VLLM, {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, 1.1, "32,768 tokens"),
    ],
)  # fmt: skip
def test_vllm_needs_room_for_one_longest_prompt(
    llama_8b: Path, tmp_path: Path, options: tuple[str, ...], shape: dict[str, object], gib: float,
    told: str,
) -> None:  # fmt: skip
    said = json.loads((llama_8b / "config.json").read_text())
    said |= {"max_position_embeddings": 4096, **shape}
    (tmp_path / "config.json").write_text(json.dumps(said))
    config = load_config(None, [f"teacher.model={tmp_path}", *options])
    _, need = memory_needs(config, num_gpus=1)
    assert isinstance(need, Need)
    cards = max(1, config.teacher.tiers[0].gpus_per_replica)
    assert need.total / 2**30 == pytest.approx(14.96 / cards + gib + 2, abs=0.05)
    assert f"{gib} GiB of keys and values for one" in need.text
    assert told in need.text
    assert need.fix.startswith("a smaller max_model_len")


def test_transformers_needs_no_room_for_a_longest_prompt(llama_8b: Path) -> None:
    options = ["teacher.kind=transformers", f"teacher.model={llama_8b}"]
    _, need = memory_needs(load_config(None, options), num_gpus=1)
    assert isinstance(need, Need)
    assert need.text == "8.03 B parameters to answer"
    assert need.total / 2**30 == pytest.approx(14.96 + 2, abs=0.05)


def test_a_model_that_cannot_be_read_comes_with_the_way_out(tmp_path: Path) -> None:
    options = ["student.model=meta-llama/Nope", "teacher.kind=vllm", f"teacher.model={tmp_path}"]
    student, teacher = memory_needs(load_config(None, options), num_gpus=0)
    assert isinstance(student, Unknown)
    assert student.reason.startswith("cannot load the model 'meta-llama/Nope': ")
    assert "`hf download meta-llama/Nope` first, or give a folder" in student.fix
    assert "gated model accept its terms on the hub and set HF_TOKEN" in student.fix
    assert isinstance(teacher, Unknown)
    assert teacher.fix.startswith("give the teacher's model as the folder of a causal language")


def test_each_failing_line_has_a_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    options = [f"data.train={tmp_path}/none.jsonl", f"data.evaluation={tmp_path}/none.jsonl"]
    options += ["teacher.kind=replay", f"teacher.path={tmp_path}/none.jsonl"]
    config = load_config(None, options)
    asks = load_config(None, ["teacher.kind=openai", "teacher.api_key_env=NO_SUCH_KEY"])
    findings = [*_corpus(config), *_storage(tmp_path / "file"), *_teachers(asks)]
    wrong = {one.subject: one.fix for one in findings if one.state == "problem"}
    subjects = {"data.train", "data.evaluation", "recorded answers", "storage", "teacher"}
    assert set(wrong) == subjects
    assert wrong["data.train"].startswith("set data.train to files that are there")
    assert wrong["storage"].startswith("use a --run-dir where you may write")
    assert wrong["teacher"].startswith("set NO_SUCH_KEY where Ray runs")
    assert wrong["recorded answers"].startswith("set path, and synthetic")
    assert all(wrong.values())


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_package_of_the_student_that_is_missing_is_a_problem() -> None:
    assert all(one.subject != "student's packages" for one in _packages(load_config()))
    config = load_config(None, ["student.lora={}", "student.quantization=4bit"])
    *_, finding = _packages(config)
    assert (finding.subject, finding.state) == ("student's packages", "problem")
    assert "pip install 'baldistill[qlora]'" in finding.text
    assert finding.fix.startswith("install it on every node that trains")
