"""Fine-tuning: ours beside TRL's SFTTrainer, as it comes and packed, on the same examples.

    python benchmarks/fine_tune.py [--quick] [--model PATH] [--rounds 3] [--ways ours "ours liger"]

What is not installed is left out, with a word. Liger's kernels and QLoRA run on a GPU only. Each
figure is of a process of its own.
Real tokens count, not padding; seconds are those of `train()`, by the clock and, on a CPU that
others use too, by the processor.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = ("ours", "ours liger", "ours qlora", "trl", "trl packed")
NEEDS = {"ours liger": "liger_kernel", "ours qlora": "bitsandbytes"}  # and a GPU; the rest: trl


def measure(way: str, model: str, examples: int, batch: int) -> dict[str, float]:
    """Train one epoch in this process."""
    import torch
    from transformers import AutoTokenizer, set_seed

    from baldistill.bundled import DOMAINS, make_example
    from baldistill.student.encode import Lesson, encode_examples

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    set_seed(0)
    rng = random.Random(0)
    made = [make_example(rng.choice(DOMAINS), rng) for _ in range(examples)]
    prompts = [f"Question: {one.question}\n" for one in made]
    targets = [f"{one.rationale}\nAnswer: {one.answer}" for one in made]
    tokenizer = AutoTokenizer.from_pretrained(model)
    lessons = [Lesson(*pair) for pair in zip(prompts, targets, strict=True)]
    rows = encode_examples(lessons, tokenizer, 1024).rows
    tokens = sum(len(row["input_ids"]) for row in rows)
    with tempfile.TemporaryDirectory() as output:
        if way.startswith("ours"):
            trainer = _ours(model, rows, tokenizer, batch, output, way)
        else:
            trainer = _trl(model, prompts, targets, batch, output, packed=way == "trl packed")
        start, busy = time.monotonic(), time.process_time()
        result = trainer.train()
        seconds, cpu = time.monotonic() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {
        "tokens": tokens, "mean_length": tokens / len(rows), "steps": result.global_step,
        "tokens_per_second": tokens / seconds, "tokens_per_cpu_second": tokens / cpu,
        "loss": result.training_loss, "peak_mib": peak,
    }  # fmt: skip


def _ours(model: str, rows: Any, tokenizer: Any, batch: int, output: str, way: str) -> Any:
    from baldistill.config import StudentConfig
    from baldistill.student import train
    from baldistill.student.arguments import training_arguments
    from baldistill.student.saving import Saving

    budget: Any = os.environ.get("TOKENS_PER_BATCH", "auto")
    options: dict[str, dict[str, Any]] = {
        "ours liger": {"trainer": {"use_liger_kernel": True}},
        "ours qlora": {"lora": {"rank": 16}, "quantization": "4bit"},
    }
    config = StudentConfig(
        epochs=1,
        batch_size=batch,
        tokens_per_batch=budget if budget == "auto" else int(budget),
        **options.get(way, {}),
    )
    _, loaded = train._load(model, config)
    arguments = training_arguments(config, 0, Path(output))
    return train._trainer(loaded, rows, tokenizer, config, arguments, Saving())


def _trl(model: str, prompts: Any, targets: Any, batch: int, output: str, *, packed: bool) -> Any:
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_dict({"prompt": prompts, "completion": targets})
    on_gpu = torch.cuda.is_available()
    config = SFTConfig(
        output_dir=output, num_train_epochs=1, per_device_train_batch_size=batch, packing=packed,
        learning_rate=2e-5, use_cpu=not on_gpu, bf16=on_gpu, report_to=[], save_strategy="no",
        disable_tqdm=True, seed=0,
    )  # fmt: skip
    return SFTTrainer(model=model, args=config, train_dataset=data)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _in_process(arguments: argparse.Namespace, way: str) -> dict[str, float] | None:
    package = NEEDS.get(way, "trl")
    if way != "ours" and importlib.util.find_spec(package) is None:
        print(f"{way}: left out: needs {package}", flush=True)
        return None
    if way in NEEDS and not _has_gpu():
        return None
    command = [sys.executable, __file__, "--way", way, "--model", arguments.model]
    command += ["--examples", str(arguments.examples), "--batch", str(arguments.batch)]
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{way}: " + ", ".join(f"{key} {value:,.4g}" for key, value in figures.items()))
    return figures


def main() -> None:
    """Print a line for each measurement, and JSON last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="128 examples, once")
    parser.add_argument("--model", default="bundled-student", help="folder or hub id")
    parser.add_argument("--examples", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=16, help="examples of a step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["ours", "trl", "trl packed"])
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        from baldistill.generation.types import ModelRef

        model = ModelRef(arguments.model).resolve()
        got = measure(arguments.way, model, arguments.examples, arguments.batch)
        print(json.dumps(got))
        return
    if arguments.quick:
        arguments.examples, arguments.rounds = 128, 1
    found: dict[str, list[dict[str, float]]] = {way: [] for way in arguments.ways}
    for _ in range(arguments.rounds):
        for way in arguments.ways:
            figures = _in_process(arguments, way)
            if figures:
                found[way].append(figures)
    medians = {
        way: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for way, runs in found.items()
        if runs
    }
    unit = "tokens_per_second"
    speeds = {way: figures[unit] for way, figures in medians.items()}
    result = {
        "name": "fine_tune",
        "ours": speeds.get("ours"),
        "reference": speeds.get("trl"),
        "ratio": speeds["ours"] / speeds["trl"] if {"ours", "trl"} <= speeds.keys() else None,
        "unit": unit,
        "model": Path(arguments.model).name,
        "ways": medians,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
