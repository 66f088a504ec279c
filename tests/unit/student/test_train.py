"""`train` on the bundled student, in this process and without Ray."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from baldistill.bundled import DOMAINS, make_example, model_dir
from baldistill.config import StudentConfig
from baldistill.errors import ConfigError, UserError
from baldistill.student import train as training
from baldistill.student.encode import Lesson
from baldistill.student.train import train
from baldistill.student.training import Progress, TrainingResult

STUDENT = str(model_dir("student"))
RNG = random.Random(0)
MADE = [make_example(RNG.choice(DOMAINS), RNG) for _ in range(64)]
LESSONS = [
    Lesson(f"Question: {made.question}\n", f"{made.rationale}\nAnswer: {made.answer}")
    for made in MADE
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run(output: Path, *, seed: int = 0, number: int = 64, **values: Any) -> TrainingResult:
    settings = {"learning_rate": 1e-3, "epochs": 2, "batch_size": 8, "lr_schedule": "constant"}
    # without validation: some tests need a learning rate beyond what a user may ask for
    config = StudentConfig.model_construct(**{**settings, **values})
    return train(LESSONS[:number], init=STUDENT, output=output, config=config, seed=seed)


def loss_of(model: Any) -> float:
    """Mean loss over all targets, by plain passes."""
    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    total = count = 0.0
    for lesson in LESSONS:
        before = [1, *tokenizer(lesson.prompt, add_special_tokens=False)["input_ids"]]
        after = [*tokenizer(lesson.target, add_special_tokens=False)["input_ids"], 2]
        ids = torch.tensor([before + after])
        with torch.inference_mode():
            logprobs = torch.log_softmax(model(input_ids=ids).logits[0], -1)
        rows = torch.arange(len(before) - 1, len(before) + len(after) - 1)
        total -= float(logprobs[rows, torch.tensor(after)].sum())
        count += len(after)
    return total / count


def test_training_lowers_the_loss_and_leaves_a_plain_model(tmp_path: Path) -> None:
    result = run(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loss_of(model) < loss_of(AutoModelForCausalLM.from_pretrained(STUDENT)) * 0.8
    assert result.num_examples == 64
    assert result.num_steps == 2 * 64 // 8
    steps, losses = zip(*result.losses, strict=True)
    assert steps == tuple(range(1, 17))
    assert losses[-1] < losses[0]
    assert result.loss == pytest.approx(np.mean(losses[-2:]))  # of the last tenth of the steps
    text = AutoTokenizer.from_pretrained(tmp_path).decode([1, *range(300, 310)])
    assert text == AutoTokenizer.from_pretrained(STUDENT).decode([1, *range(300, 310)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_the_reported_loss_is_that_of_the_target_tokens(tmp_path: Path) -> None:
    """One step over all examples, at a rate that changes nothing, from the base student."""
    base = loss_of(AutoModelForCausalLM.from_pretrained(STUDENT))
    for options in ({"batch_size": 64}, {"batch_size": 8, "gradient_accumulation": 8}):
        result = run(tmp_path, epochs=1, learning_rate=1e-12, **options)
        assert result.num_steps == 1
        assert result.loss == pytest.approx(base, rel=1e-4)


def test_answers_and_explanations_train_together(tmp_path: Path) -> None:
    """The reported loss is w times the mean over answers, and 1 - w over explanations."""
    options: dict[str, Any] = {"learning_rate": 1e-12, "epochs": 1, "batch_size": 8}
    answers = [f"Answer: {made.answer}" for made in MADE[:8]]
    explanations = [(f"Explain: {made.question}\n", made.rationale) for made in MADE[:8]]

    def loss(target: str, lessons: list[Lesson], weight: float = 0.5) -> float:
        config = StudentConfig(target=target, label_weight=weight, **options)
        return train(lessons, init=STUDENT, output=tmp_path, config=config, seed=0).loss

    answered = [Lesson(one.prompt, told) for one, told in zip(LESSONS[:8], answers, strict=True)]
    explained = [Lesson(*explanation) for explanation in explanations]
    both = [replace(one, explanation=e) for one, e in zip(answered, explanations, strict=True)]
    a, b = loss("label", answered), loss("rationale", explained)
    assert abs(a - b) > 0.1, "the two can be told apart"
    assert loss("both", both, 0.2) == pytest.approx(0.2 * a + 0.8 * b, rel=1e-4)


def test_examples_count_by_their_weight(tmp_path: Path) -> None:
    """The reported loss of one step is the mean over target tokens, weighed by example."""
    config = StudentConfig(learning_rate=1e-12, epochs=1, batch_size=8)

    def loss(weights: list[float] | None) -> float:
        lessons = LESSONS[:8]
        if weights is not None:
            lessons = [replace(one, weight=w) for one, w in zip(lessons, weights, strict=True)]
        return train(lessons, init=STUDENT, output=tmp_path, config=config, seed=0).loss

    first, second = loss([2.0] * 4 + [0.0] * 4), loss([0.0] * 4 + [2.0] * 4)
    assert abs(first - second) > 0.01, "the two halves can be told apart"
    assert loss([1.5] * 4 + [0.5] * 4) == pytest.approx(0.75 * first + 0.25 * second, rel=1e-4)
    assert loss([1.0] * 8) == pytest.approx(loss(None), rel=1e-6)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, seed=seed, number=24)
    weights = {name: load_file(tmp_path / name / "model.safetensors") for name in "abc"}
    assert all(torch.equal(weights["a"][key], weights["b"][key]) for key in weights["a"])
    assert not all(torch.equal(weights["a"][key], weights["c"][key]) for key in weights["a"])


def test_accumulated_gradients_train_as_one_batch_does(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", batch_size=8)
    parts = run(tmp_path / "b", batch_size=2, gradient_accumulation=4)
    assert parts.num_steps == whole.num_steps
    np.testing.assert_allclose(
        [loss for _, loss in parts.losses], [loss for _, loss in whole.losses], rtol=1e-3
    )


def test_batches_hold_examples_of_like_length(tmp_path: Path) -> None:
    widths: list[tuple[int, int]] = []
    collate = training.collate

    def watched(rows: Any, **options: Any) -> Any:
        lengths = [len(row["input_ids"]) for row in rows]
        widths.append((len(rows) * max(lengths), sum(lengths)))
        return collate(rows, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "collate", watched)
        run(tmp_path, epochs=1, batch_size=4)
    padded, real = np.sum(widths, axis=0)
    lengths = [len(t) for t in AutoTokenizer.from_pretrained(STUDENT)(
        [f"{one.prompt}{one.target}" for one in LESSONS])["input_ids"]]  # fmt: skip
    at_random = np.mean([max(random.Random(i).sample(lengths, 4)) for i in range(500)])
    assert padded - real < 0.7 * (at_random * 64 - sum(lengths))


def test_the_loss_of_the_last_step_is_reported_whatever_the_interval(tmp_path: Path) -> None:
    result = run(tmp_path, number=31, batch_size=1, epochs=3)
    assert result.num_steps == 93
    assert [step for step, _ in result.losses] == [*range(2, 93, 2), 93]
    assert result.loss == pytest.approx(np.mean([loss for _, loss in result.losses[-6:]]))


def test_a_batch_that_memory_does_not_hold_names_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(rows: Any, **options: Any) -> Any:  # no GPU here to fill
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(training, "collate", full)
    with pytest.raises(UserError, match=r"lower student\.tokens_per_batch \(now 512\)"):
        run(tmp_path, tokens_per_batch=512)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_rate_rises_over_the_warm_up(tmp_path: Path, schedule: str) -> None:
    rates: list[float] = []
    on_log = training._Reporter.on_log

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        if "learning_rate" in (kwargs.get("logs") or {}):
            rates.append(kwargs["logs"]["learning_rate"])
        on_log(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Reporter, "on_log", watched)
        run(tmp_path, epochs=1, batch_size=4, warmup_ratio=0.25, lr_schedule=schedule)
    assert len(rates) == 16
    rise = np.array(rates[:5]) / 1e-3
    np.testing.assert_allclose(rise, [0.0, 0.25, 0.5, 0.75, 1.0], atol=1e-6)
    if schedule == "constant":
        assert set(rates[4:]) == {1e-3}
    else:
        assert rates[-1] < 2e-4


def test_adapters_are_merged_and_nothing_of_them_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted: list[torch.Tensor] = []
    ids = torch.tensor([[1, 300, 301, 302, 50, 60]])
    save = training._save

    def watched(model: Any, *rest: Any) -> None:
        with torch.inference_mode():
            adapted.append(model.eval()(input_ids=ids).logits)
        save(model, *rest)

    monkeypatch.setattr(training, "_save", watched)
    config = {"lora": training.LoraConfig(rank=4, alpha=10.5), "learning_rate": 1e-2}
    result = run(tmp_path, **config)
    assert result.losses[-1][1] < result.losses[0][1]
    names = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in names if "adapter" in name]
    with torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path)(input_ids=ids).logits
        base = AutoModelForCausalLM.from_pretrained(STUDENT)(input_ids=ids).logits
    torch.testing.assert_close(merged, adapted[0], atol=1e-4, rtol=1e-4)
    assert (merged - base).abs().max() > 0.1
    assert loss_of(AutoModelForCausalLM.from_pretrained(tmp_path)) < 5


def test_a_kept_adapter_gives_the_student_on_its_base(tmp_path: Path) -> None:
    lora = training.LoraConfig(rank=4, keep=True)
    run(tmp_path, epochs=1, learning_rate=1e-2, lora=lora)
    ids = torch.tensor([[1, 300, 301, 302, 50, 60]])
    base = AutoModelForCausalLM.from_pretrained(STUDENT)
    with torch.inference_mode():
        plain = base(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(base, tmp_path / "adapter")(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(tmp_path)(input_ids=ids).logits
    torch.testing.assert_close(adapted, merged, atol=1e-4, rtol=1e-4)
    assert (adapted - plain).abs().max() > 0.1
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors"
    }  # fmt: skip


def test_an_adapter_on_no_layer_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"student\.lora\.target_modules: .*nowhere"):
        run(tmp_path, lora=training.LoraConfig(target_modules=("nowhere",)))


def test_a_loss_that_is_no_number_names_the_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lower student.learning_rate \(now 1e\+30\)"):
        run(tmp_path / "student", learning_rate=1e30)
    assert not (tmp_path / "student" / "model.safetensors").exists()


def test_weights_that_the_last_step_ruined_are_not_saved(tmp_path: Path) -> None:
    """Its only loss, that before the step, is finite."""
    with pytest.raises(UserError, match="weights are not finite"):
        run(tmp_path, learning_rate=1e39, epochs=1, batch_size=64, warmup_ratio=0.0)
    assert not (tmp_path / "model.safetensors").exists()


def test_a_student_that_is_missing_is_the_users_problem(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot load the model '/no/such/student'"):
        train(LESSONS, init="/no/such/student", output=tmp_path, config=StudentConfig(), seed=0)


def test_progress_is_reported_before_the_first_step_and_at_every_report(tmp_path: Path) -> None:
    reports: list[Progress] = []
    config = StudentConfig(epochs=1, batch_size=1)
    train(
        LESSONS, init=STUDENT, output=tmp_path, config=config, seed=0,
        on_progress=reports.append,
    )  # fmt: skip
    before, steps = reports[:3], reports[3:]
    assert before == [
        Progress(status="loading the model"),
        Progress(status="encoding 64 examples"),
        Progress(total_steps=64, status="taking the first step"),
    ]
    assert [progress.total_steps for progress in steps] == [64] * 64
    assert steps[-1].step == 64
    assert all(progress.loss is not None and not progress.status for progress in steps)


def test_the_student_is_saved_in_the_dtype_of_its_base(tmp_path: Path) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(STUDENT, dtype=torch.bfloat16).save_pretrained(base)
    AutoTokenizer.from_pretrained(STUDENT).save_pretrained(base)
    config = StudentConfig(epochs=1, batch_size=4)
    train(LESSONS[:8], init=str(base), output=tmp_path, config=config, seed=0)
    weights = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16


def test_the_token_budget_changes_no_loss(tmp_path: Path) -> None:
    """Micro-batches of single examples, and one of a whole step."""
    many, one = (run(tmp_path, number=16, tokens_per_batch=size) for size in (16, 10_000))
    np.testing.assert_allclose(
        [loss for _, loss in many.losses], [loss for _, loss in one.losses], rtol=1e-4
    )


def test_optimizer_and_fields_of_the_trainer_reach_it(tmp_path: Path) -> None:
    seen: list[Any] = []
    make = training._trainer

    def watched(*arguments: Any) -> Any:
        seen.append(make(*arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_trainer", watched)
        run(tmp_path, number=8, epochs=1, optimizer="adafactor", trainer={"max_grad_norm": 0.5})
    assert seen[0].args.max_grad_norm == 0.5
    assert type(seen[0].optimizer.optimizer).__name__ == "Adafactor"
