"""Requests a second to a loopback server, through ledger, store and pool.

    python benchmarks/teacher_http.py [--quick] [--prompts 2000] [--rounds 3] [--peers]

Medians of several rounds, in turns. Three servers, each in a process of its own: one that answers
after 500 ms, where the limit is concurrency / latency; the same refusing every tenth request with a
429 that asks to wait 1 s; and one that answers after 200 ms, where the client's own processor time
is the bound, beside a bare asyncio loop of the `openai` client in a process of its own, on the same
server in the same run.
`--peers` runs bespokelabs-curator and distilabel with the same concurrency, from virtual
environments in the folder that BALDISTILL_PEERS names. `--memory` measures what 200,000 questions
add to the driver's memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import ray
from loopback import SAMPLING, connect, prompt, questions, server, teacher
from peers import run_peers

from baldistill.answers.completion import Completion
from baldistill.answers.store import ResponseStore
from baldistill.config.engines import OpenAIOptions
from baldistill.config.teachers import OpenAITeacher
from baldistill.core.ledger import Caps
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.pool import EngineActor, Pool
from baldistill.generation.types import ModelRef, Request, Sampling
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.teacher import Question, Teacher

BARE = """
import asyncio, json, sys, time
import openai
url, concurrency, prompts = sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)

async def main():
    client = openai.AsyncOpenAI(base_url=url, api_key="none")
    slots = asyncio.Semaphore(concurrency)

    async def ask(prompt):
        async with slots:
            answer = await client.completions.create(
                model="m", prompt=prompt, max_tokens=96, temperature=0.0)
        return answer.choices[0].text

    await ask("warm")
    start = time.monotonic()
    answers = await asyncio.gather(*map(ask, prompts))
    print(json.dumps({"rate": len(answers) / (time.monotonic() - start),
                      "cpu_ms": 1000 * time.process_time() / len(answers)}))

asyncio.run(main())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 prompts, one round")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--peers", action="store_true", help="curator and distilabel, too")
    parser.add_argument("--memory", action="store_true", help="only that of 200,000 questions")
    arguments = parser.parse_args()
    number = 500 if arguments.quick else arguments.prompts
    concurrency = arguments.concurrency
    connect()
    if arguments.memory:
        print(json.dumps(memory(200_000)))
        return
    limit = concurrency / 0.5
    rates = dict[str, list[float]]()
    for _ in range(1 if arguments.quick else arguments.rounds):
        told = {
            "500 ms": ours(number, concurrency, latency=0.5),
            "500 ms, 10 % refused": ours(number, concurrency, latency=0.5, refuse=0.1),
            "200 ms, bare loop": (reference := bare(number, concurrency, latency=0.2))["rate"],
            "200 ms": ours(number, concurrency, latency=0.2),
            "200 ms, two clients with half the concurrency each": ours(
                number, concurrency // 2, latency=0.2, replicas=2
            ),
        }
        for what, rate in told.items():
            rates.setdefault(what, []).append(rate)
        say(", ".join(f"{what}: {rate:.1f}/s" for what, rate in told.items()))
    steady, refused, loop, quick, shared = map(statistics.median, rates.values())
    result = {
        "name": "teacher_http",
        "ours": quick,
        "reference": loop,
        "ratio": quick / loop,
        "unit": "requests/s",
        "what": f"{number} prompts, concurrency {concurrency}, a loopback server of 200 ms; ours "
        "through Teacher.ask with ledger, store and pool; the reference a bare asyncio loop of "
        "the openai client, which keeps nothing",
        "bare_cpu_ms": reference["cpu_ms"],
        "two_replicas": shared,
        "limit_500ms": limit,
        "ours_500ms": steady,
        "share_of_limit_500ms": steady / limit,
        "ours_500ms_refused": refused,
        "share_of_limit_500ms_refused": refused / limit,
        "rounds": {what: [round(rate, 1) for rate in each] for what, each in rates.items()},
    }
    if arguments.peers:
        result["peers"] = run_peers(number, concurrency, say)
    print(json.dumps(result))


def ours(
    number: int, concurrency: int, *, latency: float, refuse: float = 0.0, replicas: int = 1
) -> float:
    """Return the requests a second of `Teacher.ask`."""
    with (
        tempfile.TemporaryDirectory(prefix="baldistill-http-") as folder,
        server(latency, refuse) as url,
        teacher(Path(folder), url, concurrency=concurrency, replicas=replicas) as asked,
    ):
        start = time.monotonic()
        answers = asked.ask(questions(number), SAMPLING, stage=1)
        seconds = time.monotonic() - start
    assert all(answer.outcome == "answered" for answer in answers)
    return number / seconds


def bare(number: int, concurrency: int, *, latency: float) -> dict[str, float]:
    """Return the requests a second of the client alone, and its processor time for each."""
    with server(latency) as url:
        done = subprocess.run(
            [sys.executable, "-c", BARE, url, str(concurrency)],
            input=json.dumps([prompt(i) for i in range(number)]),
            text=True, check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
    return json.loads(done.stdout)  # type: ignore[no-any-return]


class Echo:
    """An engine that answers at once, for what the driver keeps."""

    def load(self, model: ModelRef) -> None:
        """Nothing."""

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nobody asks."""
        raise AssertionError

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> list[Completion]:
        """Answer each request with a rationale of some 200 letters."""
        tokens, logprobs = np.zeros(50, np.int32), np.zeros(50, np.float32)
        return [
            Completion(r.request_id, f"{r.request_id} {'so ' * 55}", tokens, logprobs, 40)
            for r in requests
        ]


class EchoActor(EngineActor):
    """The pool's actor with it."""

    def __init__(self) -> None:
        super().__init__(OpenAIOptions())
        self._engine = Echo()


def memory(number: int) -> dict[str, float | str]:
    """Measure what so many questions, all answered, add to the driver's resident memory."""
    remote = ray.remote(concurrency_groups={"reports": 1})(EchoActor)
    actors = tuple(remote.options(num_cpus=0.25, max_concurrency=8).remote() for _ in range(2))
    pool = Pool(actors, ModelRef("m"), batch_size=64, threads=8)
    with tempfile.TemporaryDirectory(prefix="baldistill-http-") as folder:
        storage = Storage.open(folder)
        store = ResponseStore(storage.sub("store"))
        ledger = start_ledger(storage.sub("ledger"), store, Caps())
        prompts = load_prompts("compact", model="bundled")
        asked = Teacher(pool, ledger, store, OpenAITeacher(model="m"), prompts)
        asked.ask(questions(1000), SAMPLING, stage=1)
        before, start = resident(), time.monotonic()
        peak = before
        done = 0

        def look(count: int) -> None:
            nonlocal peak, done
            done += count
            peak = max(peak, resident())

        more = (Question(f"{q.prompt} again", q.purpose, q.domain) for q in questions(number))
        answers = asked.ask(more, SAMPLING, stage=1, on_answers=look)
        seconds = time.monotonic() - start
        letters = sum(len(answer.text) for answer in answers)
    return {
        "name": "teacher_http_memory",
        "ours": peak - before,
        "reference": letters / 2**20,
        "ratio": (peak - before) / (letters / 2**20),
        "unit": "MiB of resident memory, and of answers' text among it",
        "what": f"{number:,} questions from a generator, all answered by an engine that only "
        f"echoes, in {seconds:.0f} s",
    }


def resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def say(text: str) -> None:
    """Print a line that is no result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
