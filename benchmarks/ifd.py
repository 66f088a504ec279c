"""IFD scores beside the published way: one row at a time, two forward passes.

    python benchmarks/ifd.py [--quick] [--model PATH] [--rows 512] [--published-rows 64]

The student answers questions; both sides then score these answers. Ours has the log-probabilities
given the question from answering, and needs one batched pass over the answers alone. The published
scripts (Cherry_LLM, Superfiltering) have two passes for each row, with logits of the whole
vocabulary. `with_answering` counts the answering, which is the same for both. Needs neither Ray nor
a network.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from typing import Any

import numpy as np
import torch

from baldistill.bundled import DOMAINS, make_example
from baldistill.core.ifd import ifd_batch
from baldistill.generation.encoding import context_token, encode_prompt
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef, Request, Sampling


def questions(number: int) -> list[Request]:
    """Return questions of the bundled corpus, of all domains."""
    rng = random.Random(0)
    examples = [make_example(DOMAINS[i % len(DOMAINS)], rng) for i in range(number)]
    return [Request(str(i), f"Question: {e.question}\n", seed=i) for i, e in enumerate(examples)]


@torch.inference_mode()
def published(model: Any, context: list[int], answer: np.ndarray) -> float:
    """Return the perplexity of one answer after a context, by a pass with the model's own loss."""
    ids = torch.tensor([[*context, *answer.tolist()]], device=model.device)
    labels = ids.clone()
    labels[:, : len(context)] = -100
    return float(torch.exp(model(input_ids=ids, labels=labels).loss))


def main() -> None:
    """Measure, and print a JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute on a CPU")
    parser.add_argument("--model", default="bundled-student")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--published-rows", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    options = parser.parse_args()
    if options.quick:
        options.rows = min(options.rows, 192)
    engine = TransformersEngine()
    engine.load(ModelRef(options.model))
    asked, sampling = questions(options.rows), Sampling(options.new_tokens, temperature=1.0)
    engine.score([a.token_ids for a in engine.generate(asked[:16], sampling)])  # warm up
    start = time.perf_counter()
    answers = engine.generate(asked, sampling)
    answering = time.perf_counter() - start
    conditional = [answer.logprobs for answer in answers]
    start = time.perf_counter()
    scores = ifd_batch(conditional, engine.score([answer.token_ids for answer in answers]))
    scoring = time.perf_counter() - start

    model, first = engine._model, [context_token(engine._tokenizer)]
    chosen = [i for i, answer in enumerate(answers) if len(answer.token_ids) > 1]
    chosen = chosen[: options.published_rows]
    contexts = [encode_prompt(engine._tokenizer, asked[i].prompt) for i in chosen]
    reference = np.empty(len(chosen))
    start = time.perf_counter()
    for number, (i, context) in enumerate(zip(chosen, contexts, strict=True)):
        tokens = answers[i].token_ids
        reference[number] = published(model, context, tokens) / published(model, first, tokens)
    theirs = (time.perf_counter() - start) / max(len(chosen), 1)
    ours_s, answer_s = scoring / len(asked), answering / len(asked)
    device = engine.device.type
    result = {
        "name": "ifd",
        "unit": "rows/s",
        "model": options.model,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "rows": len(asked),
        "mean_answer_tokens": round(float(np.mean([len(a.token_ids) for a in answers])), 1),
        "ours": round(1 / ours_s, 1),
        "reference": round(1 / theirs, 1),
        "ratio": round(theirs / ours_s, 2),
        "ratio_with_answering": round((theirs + answer_s) / (ours_s + answer_s), 2),
        "median_relative_difference": float(
            f"{np.median(np.abs(scores[chosen] / reference - 1)):.2g}"
        ),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
