"""However the examples of a step travel, its loss and gradient are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from baldistill.generation.head import keeps_examples_apart
from baldistill.student import loss as losses
from baldistill.student.batching import collate, split
from baldistill.student.encode import EXPLAINED, IGNORED
from baldistill.student.loss import TargetLoss

SMALL = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 50, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "gemma2": {"sliding_window": 4, "final_logit_softcapping": 2.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 3.0},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "mamba": {"state_size": 4},
}


def model_of(kind: str, **values: Any) -> Any:
    torch.manual_seed(0)
    shape = {"vocab_size": 50} if kind in ("gpt2", "mamba") else SMALL
    if kind == "mamba":
        shape = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2}
    config = AutoConfig.for_model(kind, **{**shape, **KINDS[kind], **values})
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop", "attention_dropout"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()


def rows_of(lengths: list[int]) -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(1)
    rows = []
    for length in lengths:
        ids = torch.randint(1, 50, (length,), generator=generator).tolist()
        masked = length // 2
        rows.append({"input_ids": ids, "labels": [IGNORED] * masked + ids[masked:]})
    return rows


ROWS = rows_of([9, 4, 17, 6, 3, 12])


def gradient(model: Any, rows: Any, **options: Any) -> tuple[float, torch.Tensor]:
    """Mean loss and its gradient through `TargetLoss` in micro-batches."""
    model.zero_grad()
    student, batch = TargetLoss(model), collate(rows, pad=0, **options)
    total = 0.0
    for part in batch["micro_batches"]:
        loss = student(**part) / len(batch["shift_labels"])
        loss.backward()
        total += float(loss)
    return total, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def one_by_one(model: Any, rows: Any) -> tuple[float, torch.Tensor]:
    """The same by the model's own logits, an example at a time, without any code of ours."""
    model.zero_grad()
    count = sum(label != IGNORED for row in rows for label in row["labels"][1:])
    total = 0.0
    for row in rows:
        logits = model(input_ids=torch.tensor([row["input_ids"]]), use_cache=False).logits[0, :-1]
        wanted = torch.tensor(row["labels"][1:])
        loss = functional.cross_entropy(logits, wanted, reduction="sum") / count
        loss.backward()
        total += float(loss)
    return total, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", KINDS)
def test_packed_bucketed_and_one_by_one_give_the_same_loss_and_gradient(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(kind)
    loss, wanted = one_by_one(model, ROWS)
    packs = keeps_examples_apart(model, packed=True)
    assert packs == (kind != "mamba")
    assert keeps_examples_apart(model, packed=False)
    assert TargetLoss(model).parts.is_split
    layouts = ["padded", "packed"] if packs else ["padded"]
    if kind != "mamba":
        layouts.append("masked")
    for logits in (2**25, 150):  # a chunk holds all targets, or three
        monkeypatch.setattr(losses, "LOGITS", logits)
        for layout in layouts:
            for budget in (1, 20, 1000):
                found, grown = gradient(model, ROWS, layout=layout, budget=budget)
                assert found == pytest.approx(loss, abs=1e-5)
                torch.testing.assert_close(grown, wanted, atol=1e-5, rtol=1e-5)


def test_a_head_that_does_more_than_we_know_is_left_to_the_model() -> None:
    model = model_of("llama")
    forward = model.forward

    def biased(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * torch.linspace(0.5, 2, 50)
        return output

    model.forward = biased
    assert not TargetLoss(model).parts.is_split
    loss, wanted = one_by_one(model, ROWS)
    found, grown = gradient(model, ROWS, layout="packed", budget=30)
    assert found == pytest.approx(loss, abs=1e-5)
    torch.testing.assert_close(grown, wanted, atol=1e-5, rtol=1e-5)


def pairs() -> tuple[list[Any], list[Any], list[Any]]:
    """Answers, their explanations (one is missing), and examples that hold both."""
    answers = [row | {"labels": [IGNORED] * len(row["labels"][:-2]) + row["labels"][-2:]}
               for row in rows_of([9, 4, 7])]  # fmt: skip
    explanations = rows_of([21, 30])
    examples = [
        answer | ({EXPLAINED: explanation} if explanation else {})
        for answer, explanation in zip(answers, [*explanations, None], strict=True)
    ]
    return answers, explanations, examples


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_answers_and_explanations_each_have_their_own_mean(
    weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TaskPrefixTrainer: alpha * model(**pred).loss + (1 - alpha) * model(**expl).loss."""
    model = model_of("llama")
    answers, explanations, examples = pairs()
    (answer, a), (explanation, b) = one_by_one(model, answers), one_by_one(model, explanations)
    for logits in (2**25, 150):
        monkeypatch.setattr(losses, "LOGITS", logits)
        for layout in ("padded", "packed", "masked"):
            for budget in (1, 40, 1000):
                options = {"layout": layout, "budget": budget, "label_weight": weight}
                found, grown = gradient(model, examples, **options)
                assert found == pytest.approx(
                    weight * answer + (1 - weight) * explanation, abs=1e-5
                )
                torch.testing.assert_close(
                    grown, weight * a + (1 - weight) * b, atol=1e-5, rtol=1e-5
                )


def test_a_weight_of_one_is_the_gradient_of_answers_and_of_nought_that_of_explanations() -> None:
    model = model_of("llama")
    answers, explanations, examples = pairs()
    for weight, alone in ((1.0, answers), (0.0, explanations)):
        found = gradient(model, examples, budget=50, label_weight=weight)
        wanted = gradient(model, alone, budget=50)
        assert found[0] == pytest.approx(wanted[0], abs=1e-6)
        torch.testing.assert_close(found[1], wanted[1], atol=1e-6, rtol=1e-5)


def test_a_rows_own_weight_scales_its_answer_and_its_explanation() -> None:
    model = model_of("llama")
    examples = pairs()[2]
    for row in examples:
        row["weight"] = 3.0
    once = gradient(model, pairs()[2], budget=50, label_weight=0.3)
    thrice = gradient(model, examples, budget=50, label_weight=0.3)
    torch.testing.assert_close(thrice[1], 3 * once[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_rows_count_by_their_weight(layout: str) -> None:
    """Loss and gradient are those of each row alone, weighed, over all target tokens."""
    model = model_of("llama")
    weights = [0.5, 2.0, 1.0, 0.0, 0.25, 2.25]
    rows = [{**row, "weight": weight} for row, weight in zip(ROWS, weights, strict=True)]
    found = gradient(model, rows, budget=30, layout=layout)
    alone = [gradient(model, [row], budget=30) for row in ROWS]
    sizes = [sum(label != IGNORED for label in row["labels"][1:]) for row in ROWS]
    parts = [w * n / sum(sizes) for w, n in zip(weights, sizes, strict=True)]
    assert found[0] == pytest.approx(sum(p * a[0] for p, a in zip(parts, alone, strict=True)))
    wanted = sum(p * a[1] for p, a in zip(parts, alone, strict=True))
    torch.testing.assert_close(found[1], wanted, atol=1e-6, rtol=1e-5)


def test_without_weights_a_batch_is_as_it_was() -> None:
    (batch,) = collate(ROWS, pad=0, budget=1000)["micro_batches"]
    assert "weights" not in batch


@given(st.lists(st.integers(2, 60), min_size=1, max_size=40), st.integers(1, 200), st.booleans())
def test_micro_batches_hold_each_example_once_and_keep_the_budget(
    lengths: list[int], budget: int, padded: bool
) -> None:
    rows = rows_of(lengths)
    parts = split(rows, budget, padded=padded)
    assert sorted(id(row) for part in parts for row in part) == sorted(map(id, rows))
    for part in parts:
        sizes = [len(row["input_ids"]) for row in part]
        size = max(sizes) * len(sizes) if padded else sum(sizes)
        assert size <= budget or len(part) == 1


def test_flash_attention_gets_the_borders_of_the_examples() -> None:
    (batch,) = collate(ROWS, pad=0, budget=1000, layout="packed-flash")["micro_batches"]
    assert batch["cu_seq_lens_q"].tolist() == [0, 17, 29, 38, 44, 48, 51]
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["max_length_k"] == 17
    starts = (batch["position_ids"][0] == 0).nonzero().flatten()
    assert starts.tolist() == batch["cu_seq_lens_k"].tolist()[:-1]


def peak_of(expression: str) -> list[float]:
    """MiB at the peak of a fresh process above what it held before; loss; size of the gradient."""
    code = f"""
import pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_batching import *
torch.set_num_threads(1)
model = model_of("llama", vocab_size=250_000)
rows = rows_of([64] * 8)
gradient(model, rows_of([4]), budget=8)
pathlib.Path("/proc/self/clear_refs").write_text("5")
read = lambda key: next(int(l.split()[1]) for l in open("/proc/self/status") if key in l) / 1024
before = read("VmRSS")
loss, grown = {expression}
print(read("VmHWM") - before, loss, float(grown.double().abs().sum()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()[-3:]]


@pytest.mark.slow
def test_a_vocabulary_of_250000_costs_no_logits_of_the_whole_batch() -> None:
    """512 tokens, 256 of them targets: 488 MiB of logits in float32, and again as gradients."""
    ours, *figures = peak_of("gradient(model, rows, budget=512)")
    parts, *wanted = peak_of("whole(model, rows)")
    assert parts > 488, "the model's own loss has logits for all tokens"
    print(f"peak above the model: {ours:.0f} MiB, by the model's own loss {parts:.0f} MiB")
    assert figures == pytest.approx(wanted, rel=1e-5)
    assert ours < 0.4 * parts


def whole(model: Any, rows: Any) -> tuple[float, torch.Tensor]:
    """By the model's own loss, all rows at once."""
    model.zero_grad()
    ids = torch.tensor([row["input_ids"] for row in rows])
    loss = model(input_ids=ids, labels=torch.tensor([row["labels"] for row in rows])).loss
    loss.backward()
    return float(loss), torch.cat([p.grad.flatten() for p in model.parameters()])
