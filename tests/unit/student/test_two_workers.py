"""Two workers train as one does, whether each holds the student (DDP) or they share it (FSDP2)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from two_workers import Job, train_job

from baldistill.bundled import model_dir

SCRIPT = Path(__file__).resolve().parents[2] / "two_workers.py"
# examples in an order that does not depend on the number of workers
BASE = {
    "learning_rate": 1e-3, "epochs": 2, "batch_size": 4,
    "trainer": {"train_sampling_strategy": "random"},
}  # fmt: skip
FSDP = {**BASE, "parallel": "fsdp"}
LORA = {"rank": 4, "keep": True}
EVERY_2 = {"checkpoint": {"every_steps": 2}}
JOBS = [
    Job("ddp", BASE),
    # other numbers of micro-batches on each worker, and activations computed again
    Job("fsdp", {**FSDP, "tokens_per_batch": 64, "gradient_checkpointing": True}),
    Job("killed", {**FSDP, **EVERY_2}, kill_after=5),
    Job("again", {**FSDP, **EVERY_2}, same_folder_as="killed"),
    Job("ddp-bf16", BASE, base="in-bf16"),  # trained in float32
    Job("fsdp-bf16", FSDP, base="in-bf16"),
    Job("ddp-lora", {**BASE, "lora": LORA}),
    Job("fsdp-lora", {**FSDP, "lora": LORA}),
    # each worker draws its dropout: other amounts of random numbers where rows are of other lengths
    Job("dropout", {**BASE, "trainer": {}, "lora": {"rank": 4, "dropout": 0.5}}),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two-workers")
    base = AutoModelForCausalLM.from_pretrained(model_dir("student"), dtype=torch.bfloat16)
    base.save_pretrained(folder / "in-bf16")
    AutoTokenizer.from_pretrained(model_dir("student")).save_pretrained(folder / "in-bf16")
    jobs = json.dumps([vars(job) for job in JOBS])
    command = [sys.executable, str(SCRIPT), str(folder), jobs]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    torch.set_num_threads(1)
    train_job(Job("one", {**BASE, "batch_size": 8}), folder, 0)
    return folder


def losses(folder: Path) -> list[float]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert [step for step, _ in result["losses"]] == [1, 2, 3, 4, 5, 6]
    return [loss for _, loss in result["losses"]]


def assert_alike(one: Path, other: Path) -> None:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=2e-4, rtol=0)


@pytest.mark.parametrize("way", ["ddp", "fsdp", "again"])
def test_two_workers_train_as_one_does(trained: Path, way: str) -> None:
    assert losses(trained / way) == pytest.approx(losses(trained / "one"), rel=1e-5)
    assert_alike(trained / way, trained / "one")


def test_a_shared_training_goes_on_from_its_checkpoint(trained: Path) -> None:
    assert not (trained / "killed" / "result.json").exists()
    assert json.loads((trained / "again" / "result.json").read_text())["resumed"] == 4


def test_a_shared_training_of_a_base_in_bfloat16_has_float32_weights(trained: Path) -> None:
    found, expected = (losses(trained / name) for name in ("fsdp-bf16", "ddp-bf16"))
    assert found == pytest.approx(expected, rel=1e-5)
    weights = load_file(trained / "fsdp-bf16" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def test_a_shared_adapter_trains_as_one_that_each_worker_holds(trained: Path) -> None:
    assert losses(trained / "fsdp-lora") == pytest.approx(losses(trained / "ddp-lora"), rel=1e-5)
    assert_alike(trained / "fsdp-lora", trained / "ddp-lora")


def test_a_student_that_was_shared_loads_like_any_other(trained: Path) -> None:
    ids = torch.tensor([[1, 300, 301, 302, 50, 60]])
    model = AutoModelForCausalLM.from_pretrained(trained / "fsdp-lora")
    base = AutoModelForCausalLM.from_pretrained(model_dir("student"))
    adapted = PeftModel.from_pretrained(base, trained / "fsdp-lora" / "adapter")
    with torch.inference_mode():
        torch.testing.assert_close(
            model(input_ids=ids).logits, adapted(input_ids=ids).logits, atol=1e-4, rtol=1e-4
        )
    assert AutoTokenizer.from_pretrained(trained / "fsdp").decode([300])


def test_each_epoch_has_every_example_whatever_the_dropout(trained: Path) -> None:
    seen = [json.loads((trained / "dropout" / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
    for epoch in range(2):
        rows = [tuple(row) for worker in seen for row in worker[epoch * 12 : epoch * 12 + 12]]
        assert len(set(rows)) == 24
