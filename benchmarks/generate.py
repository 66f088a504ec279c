"""Answering with the transformers engine beside `model.generate`, and vLLM where there is a GPU.

    python benchmarks/generate.py [--quick] [--model PATH] [--rows 64 256] [--prompts 512]

The same prompts in the same sorted batches, greedy; ours also returns the log-probability of each
token. Ours and `model.generate` take turns in one process on one copy of the weights, and the ratio
is that of the medians. Tokens are those before the end token. Needs neither Ray nor a network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from baldistill.bundled import DOMAINS, make_example
from baldistill.generation.encoding import encode_prompt, end_tokens
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef, Request, Sampling


def prompts_of(number: int) -> list[str]:
    """Return questions of the bundled corpus, of all domains."""
    rng = random.Random(0)
    examples = [make_example(DOMAINS[i % len(DOMAINS)], rng) for i in range(number)]
    return [f"Question: {example.question}\n" for example in examples]


def ours(engine: Any, prompts: list[str], rows: int, sampling: Sampling) -> int:
    """Answer in batches; return the number of new tokens."""
    total = 0
    for start in range(0, len(prompts), rows):
        asked = [Request(str(i), text) for i, text in enumerate(prompts[start : start + rows])]
        total += sum(len(answer.token_ids) for answer in engine.generate(asked, sampling))
    return total


@torch.inference_mode()
def reference(engine: TransformersEngine, prompts: list[str], rows: int, sampling: Sampling) -> int:
    """Answer the same batches with `model.generate`; return the number of new tokens."""
    model, tokenizer, total = engine._model, engine._tokenizer, 0
    ends = torch.tensor(sorted(end_tokens(tokenizer, model.generation_config)))
    for start in range(0, len(prompts), rows):
        encoded = [encode_prompt(tokenizer, text) for text in prompts[start : start + rows]]
        width = max(map(len, encoded))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in encoded])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded])
        written = model.generate(
            ids.to(engine.device),
            attention_mask=mask.to(engine.device),
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            pad_token_id=int(ends[0]),
        )[:, width:].cpu()
        total += int((torch.isin(written, ends).cumsum(-1) == 0).sum())
        tokenizer.batch_decode(written, skip_special_tokens=True)
    return total


def vllm_speed(model: str, prompts: list[str], sampling: Sampling) -> float | str:
    """Return vLLM's tokens a second with all prompts at once, or why there is none."""
    if importlib.util.find_spec("vllm") is None or not torch.cuda.is_available():
        return "not installed, or no GPU"
    from baldistill.config.engines import VllmOptions
    from baldistill.generation.vllm.engine import VllmEngine

    engine = VllmEngine(VllmOptions(gpu_memory_utilization=0.5))
    engine.load(ModelRef(model))
    ours(engine, prompts[:8], 8, sampling)
    start = time.perf_counter()
    tokens = ours(engine, prompts, len(prompts), sampling)
    return tokens / (time.perf_counter() - start)


def compare(
    engine: TransformersEngine, prompts: list[str], rows: int, sampling: Sampling, rounds: int
) -> dict[str, float]:
    """Measure both in turns; return tokens a second and their ratio."""
    sides: dict[str, Callable[..., int]] = {"ours": ours, "generate": reference}
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(engine, prompts[:rows], rows, sampling)  # warm up
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            tokens = sides[name](engine, prompts, rows, sampling)
            speeds[name].append(tokens / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    found = {f"{name}_tokens_per_s": round(value, 1) for name, value in medians.items()}
    return {"rows": rows, **found, "ratio": round(medians["ours"] / medians["generate"], 3)}


def main() -> None:
    """Measure, and print a JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute on a CPU")
    parser.add_argument("--model", default="bundled-student")
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.rows = min(options.prompts, 128), [min(options.rows)]
    engine = TransformersEngine()
    engine.load(ModelRef(options.model))
    prompts = sorted(prompts_of(options.prompts), key=len)
    sampling = Sampling(options.new_tokens)
    result: dict[str, Any] = {"name": "generate", "unit": "tokens/s", "model": options.model}
    result["device"] = (
        torch.cuda.get_device_name() if engine.device.type == "cuda" else engine.device.type
    )
    result["batches"] = []
    for rows in options.rows:
        result["batches"].append(compare(engine, prompts, rows, sampling, options.rounds))
        print(result["batches"][-1], flush=True)
    last = result["batches"][-1]
    result |= {"ours": last["ours_tokens_per_s"], "reference": last["generate_tokens_per_s"]}
    result["ratio"] = last["ratio"]
    del engine
    result["vllm_tokens_per_s"] = vllm_speed(options.model, prompts, sampling)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
