"""What verification is worth when the teacher errs: BalDistill-A on the quickstart.

    python benchmarks/verification.py [--errors 0.2] [--seeds 0,1,2] [--out DIR] [--quick]

The bundled teacher is made to err: a fixed share of its answers (chosen by the hash of the request)
gets a wrong conclusion, and mistakes in the second half of its working. Three runs for each seed,
the same but for this:

    clean       the teacher as it is; nothing is verified, as in the paper
    erring      it errs; nothing is verified
    verified    it errs; rationales must conclude the gold answer (two attempts), and it must solve
                its own new questions alike

Prints the three macro accuracies and the share of the loss that verification recovers, and a JSON
object last. `--quick` is a tenth of the budget with one seed: it shows that the benchmark works.
The same --out resumes.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from baldistill.answers.completion import Completion
from baldistill.commands.run import run
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.generation.dispatcher import SavedAnswers, no_saved_answers
from baldistill.generation.pool import Pool
from baldistill.generation.types import Request, Sampling
from baldistill.placement.cluster import connected
from baldistill.placement.engines import Engines
from baldistill.placement.resources import place
from baldistill.report.intervals import interval

_UNVERIFIED = ["rationale.max_attempts=1", "rationale.on_mismatch=keep", "tail.votes=0"]
_VERIFIED = ["rationale.max_attempts=2", "rationale.on_mismatch=drop", "tail.votes=1"]
_LAST_ONLY = ["evaluation.every_stage=false", "evaluation.base_student=false"]
_GROUPS = [
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april may june july august september october november december",
    "heads tails",
]
_NAMES = {name: group.split() for group in _GROUPS for name in group.split()}
_QUICK = ["budget.total=120", "stages=2", "student.epochs=3", "data.bundled_rows=400"]


@dataclass(frozen=True, slots=True)
class ErringPool(Pool):
    """Engines some of whose answers are made wrong before anybody sees them."""

    errors: float = 0.0

    def stream(
        self,
        requests: Iterable[Request],
        sampling: Sampling,
        saved_answers: SavedAnswers = no_saved_answers,
    ) -> Iterator[list[Completion]]:
        """Answer as the pool does, and err."""
        for batch in Pool.stream(self, requests, sampling, saved_answers):
            yield [self.spoil(completion) for completion in batch]

    def spoil(self, completion: Completion) -> Completion:
        """A wrong conclusion for a fixed share of the answers, and the step that leads to it."""
        rng = random.Random(f"err {completion.request_id}")
        steps, marker, conclusion = completion.text.rpartition("Answer: ")
        if rng.random() >= self.errors or not marker or not conclusion.strip():
            return completion
        head, newline, working = "", "", steps
        if steps.startswith("Question:"):  # a new example: its question stays as it is
            head, newline, working = steps.partition("\n")
        text = head + newline + spoilt_working(working, rng) + marker
        return replace(completion, text=text + mistaken(conclusion.strip(), rng))


def spoilt_working(working: str, rng: random.Random) -> str:
    """The same steps, with about half of what their second half says mistaken."""
    parts = re.split(r"(\w+)", working)
    for number in range(len(parts) // 2, len(parts)):
        says = re.fullmatch(r"\d+|[a-z]", parts[number]) or parts[number].lower() in _NAMES
        if says and rng.random() < 1 / 2:
            parts[number] = mistaken(parts[number], rng)
    return "".join(parts)


def mistaken(answer: str, rng: random.Random) -> str:
    """Another answer of the same form: a number nearby, another day or letter, another order."""
    if group := _NAMES.get(answer.lower()):
        wrong = rng.choice([name for name in group if name != answer.lower()])
        return wrong.capitalize() if answer[0].isupper() else wrong
    if re.fullmatch(r"-?\d+", answer):
        return str(int(answer) + rng.choice([-10, -2, -1, 1, 2, 10]))
    if re.fullmatch(r"[a-z]", answer):
        return rng.choice([letter for letter in string.ascii_lowercase if letter != answer])
    parts = answer.split()
    number = rng.randrange(len(parts))
    return " ".join(
        [*parts[:number], mistaken(parts[number][:1].lower(), rng), *parts[number + 1 :]]
    )


class ErringEngines(Engines):
    """A run's engines with a teacher that errs."""

    errors = 0.0

    def teacher(self, tier: int = 0) -> Pool:
        """The teacher's engines, erring."""
        pool = super().teacher(tier)
        return ErringPool(
            pool.actors, pool.model, pool.batch_size, pool.threads, pool.groups, errors=self.errors
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--errors", type=float, default=0.2)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", help="folder that a second run resumes")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    seeds = [0] if arguments.quick else [int(seed) for seed in arguments.seeds.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(seeds, arguments.errors, arguments.out or scratch, arguments.quick)
    means = {name: interval(values)["mean"] or 0.0 for name, values in figures.items()}
    lost, recovered = means["clean"] - means["erring"], means["verified"] - means["erring"]
    for name, values in figures.items():
        print(f"{name:9s} macro {means[name]:.3f}  {[round(value, 3) for value in values]}")
    print(
        json.dumps(
            {
                "name": "verification",
                "ours": recovered,
                "reference": lost,
                "ratio": recovered / lost if lost > 0 else None,
                "unit": "macro accuracy recovered, of what the errors cost",
                "what": {"errors": arguments.errors, "seeds": seeds, "macro": figures},
            }
        )
    )


def measure(seeds: list[int], errors: float, out: str, quick: bool) -> dict[str, list[float]]:
    """Macro accuracy of each arm, seed by seed."""
    arms: dict[str, tuple[float, list[str]]] = {
        "clean": (0.0, _UNVERIFIED),
        "erring": (errors, _UNVERIFIED),
        "verified": (errors, _VERIFIED),
    }
    figures: dict[str, list[float]] = {name: [] for name in arms}
    with connected(None) as cluster:
        for seed in seeds:
            for name, (share, options) in arms.items():
                config = config_of(seed, options, quick)
                engines = ErringEngines(config, place(config, cluster))
                engines.errors = share
                try:
                    result = run(
                        config,
                        run_dir=f"{out}/{name}/seed-{seed}",
                        store=f"{out}/responses-{share}",  # erring answers stay among themselves
                        engines=engines,
                        quiet=True,
                    )
                finally:
                    engines.close()
                figures[name].append(result.metrics["macro"])
                print(f"seed {seed}, {name}: macro {result.metrics['macro']:.3f}", flush=True)
    return figures


def config_of(seed: int, options: list[str], quick: bool) -> Config:
    """BalDistill-A on the quickstart."""
    return load_config(None, [*options, *_LAST_ONLY, *(_QUICK if quick else []), f"seed={seed}"])


if __name__ == "__main__":
    main()
