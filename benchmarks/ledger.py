"""Measure what the ledger and the response store cost at 1,000 teacher requests a second.

    python benchmarks/ledger.py [--quick] [--requests 10000] [--batch-size 64]

A stand-in engine (here only) answers at that rate in two actors, like a server that is far away:
it sleeps. The reference sends the same requests through the same pool without ledger and store;
ours reserves, stores and settles each. Both take turns in one run, and the ratio is that of the
medians: 1.02 is an overhead of 2 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray

from baldistill.answers.completion import Completion
from baldistill.answers.store import ResponseStore
from baldistill.config.engines import TransformersOptions
from baldistill.config.teachers import TransformersTeacher
from baldistill.core.ledger import Caps, Prices
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.pool import EngineActor, Pool
from baldistill.generation.types import ModelRef, Request, Sampling
from baldistill.placement.cluster import connected
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.teacher import Question, Teacher

ACTORS = 2
RATE = 1_000.0  # requests a second, all actors together
ANSWER = "Let us think step by step. " * 12 + "\nAnswer: 42"  # some 80 tokens


class PacedEngine:
    """Answers at a fixed rate, however long the caller takes between two batches."""

    def load(self, model: ModelRef) -> None:
        """Nothing to load."""
        self._free = 0.0

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nobody asks a teacher for scores."""
        raise NotImplementedError

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> list[Completion]:
        """Answer all, not before their time."""
        now = time.monotonic()
        self._free = max(self._free, now) + len(requests) * ACTORS / RATE
        time.sleep(self._free - now)
        tokens, logprobs = np.zeros(80, np.int32), np.zeros(80, np.float32)
        return [Completion(r.request_id, ANSWER, tokens, logprobs, 60) for r in requests]


class PacedActor(EngineActor):
    """The pool's actor with the stand-in."""

    def __init__(self) -> None:
        """Build it at once."""
        super().__init__(TransformersOptions())
        self._engine = PacedEngine()


def without(pool: Pool, prompts: Sequence[str], sampling: Sampling) -> float:
    """Seconds of the same requests with neither ledger nor store."""
    requests = (Request(str(i), prompt) for i, prompt in enumerate(prompts))
    start = time.monotonic()
    answers = pool.generate(requests, sampling)
    seconds = time.monotonic() - start
    assert len(answers) == len(prompts)
    return seconds


def with_ledger(pool: Pool, prompts: Sequence[str], sampling: Sampling, folder: Path) -> float:
    """Seconds of the requests reserved, stored and settled, under all four caps."""
    store = ResponseStore(Storage.open(folder / "responses"))
    caps = Caps(len(prompts), len(prompts), 10**9, 1e9)
    prices = (Prices(1.0, 2.0),)
    ledger = start_ledger(Storage.open(folder / "ledger"), store, caps, prices)
    config, prompt_set = TransformersTeacher(), load_prompts("compact", model="bundled")
    teacher = Teacher(pool, ledger, store, config, prompt_set)
    ray.get(ledger.summary.remote())  # it is up
    questions = [Question(prompt, "rationale", "sums") for prompt in prompts]
    start = time.monotonic()
    answers = teacher.ask(questions, sampling, stage=1)
    seconds = time.monotonic() - start
    assert [answer.outcome for answer in answers] == ["answered"] * len(prompts)
    assert ray.get(ledger.summary.remote())["total"]["calls"] == len(prompts)
    ray.kill(ledger)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3,000 requests, three turns")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    arguments = parser.parse_args()
    number = 3_000 if arguments.quick else arguments.requests
    turns = 3 if arguments.quick else arguments.turns
    prompts = [f"Question: what is {i} plus {i}?\nGold answer: {2 * i}\n" for i in range(number)]
    sampling = Sampling(96)
    ours, reference = [], []
    with connected(), tempfile.TemporaryDirectory(prefix="baldistill-ledger-") as scratch:
        actor = ray.remote(concurrency_groups={"reports": 1})(PacedActor).options(num_cpus=0)
        actors = tuple(actor.remote() for _ in range(ACTORS))
        pool = Pool(actors, ModelRef("paced"), arguments.batch_size)
        pool.generate([Request("warm", "up")] * ACTORS, sampling)
        for turn in range(turns):
            reference.append(without(pool, prompts, sampling))
            ours.append(with_ledger(pool, prompts, sampling, Path(scratch) / str(turn)))
        segments = len(list((Path(scratch) / "0" / "ledger").iterdir()))
    median, baseline = statistics.median(ours), statistics.median(reference)
    print(
        json.dumps(
            {
                "name": "ledger",
                "ours": round(median, 3),
                "reference": round(baseline, 3),
                "ratio": round(median / baseline, 4),
                "unit": "seconds",
                "what": f"{number:,} requests in batches of {arguments.batch_size} to {ACTORS} "
                f"actors that answer {RATE:,.0f} a second, with all four caps; the reference is "
                "the same without ledger and store",
                "requests_per_second": round(number / median),
                "ledger_segments": segments,
                "seconds_each_turn": {"ours": ours, "reference": reference},
            }
        )
    )


if __name__ == "__main__":
    main()
