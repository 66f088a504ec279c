"""Measure what verification is worth when the teacher errs: BalDistill-A on the quickstart.

    python benchmarks/verification.py [--errors 0.1,0.2,0.4] [--seeds 0,1,2] [--out DIR] [--quick]

The bundled teacher is made to err: a fixed share of its answers (chosen by the hash of the request)
gets a wrong conclusion, and mistakes in the second half of its working. One run for each seed, and
four more for each share of errors, the same but for this:

    clean       the teacher as it is; nothing is verified, as in the paper
    erring      it errs; nothing is verified
    verified    it errs; rationales must conclude the gold answer (two attempts), and it must solve
                its own new questions alike
    verifier    the same, but a model that does not err solves the new questions (`tail.verifier`)
    majority    it errs, and sees no gold answer: two of three of its solutions must agree, of real
                questions and of its new ones

Prints macro accuracies, and a JSON object last. `--quick` is a tenth of the budget, one seed and
one share: it shows that the benchmark works. The same --out resumes.
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
_VERIFIER = [*_VERIFIED, "tail.verifier={kind: transformers, model: bundled}"]
_MAJORITY = ["rationale.sees=question", "rationale.accept=majority", "tail.votes=3"]
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
        """Spoil the conclusion of a fixed share of the answers, and the steps that lead to it."""
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
    """Return the same steps, with about half of what their second half says mistaken."""
    parts = re.split(r"(\w+)", working)
    for number in range(len(parts) // 2, len(parts)):
        says = re.fullmatch(r"\d+|[a-z]", parts[number]) or parts[number].lower() in _NAMES
        if says and rng.random() < 1 / 2:
            parts[number] = mistaken(parts[number], rng)
    return "".join(parts)


def mistaken(answer: str, rng: random.Random) -> str:
    """Return another answer of the same form: a number nearby, another day, letter or order."""
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
    """A run's engines with a teacher that errs; a verifier does not."""

    errors = 0.0

    def teacher(self, tier: int = 0) -> Pool:
        """Return the teacher's engines, erring, or the verifier's."""
        pool = super().teacher(tier)
        if tier > 0:
            return pool
        return ErringPool(
            pool.actors, pool.model, pool.batch_size, pool.threads, pool.groups, errors=self.errors
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--errors", default="0.1,0.2,0.4")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", help="folder that a second run resumes")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    seeds = [0] if arguments.quick else [int(seed) for seed in arguments.seeds.split(",")]
    errors = [float(share) for share in arguments.errors.split(",")]
    errors = errors[:1] if arguments.quick else errors
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(seeds, errors, arguments.out or scratch, arguments.quick)
    means = {name: interval(values)["mean"] or 0.0 for name, values in figures.items()}
    for name, values in figures.items():
        print(f"{name:14s} macro {means[name]:.3f}  {[round(value, 3) for value in values]}")
    worst = max(errors)
    lost = means["clean"] - means[f"erring {worst:g}"]
    recovered = means[f"verified {worst:g}"] - means[f"erring {worst:g}"]
    print(
        json.dumps(
            {
                "name": "verification",
                "ours": recovered,
                "reference": lost,
                "ratio": recovered / lost if lost > 0 else None,
                "unit": "macro accuracy recovered, of what the errors cost",
                "what": {"errors": errors, "seeds": seeds, "macro": figures},
            }
        )
    )


def measure(seeds: list[int], errors: list[float], out: str, quick: bool) -> dict[str, list[float]]:
    """Macro accuracy of each arm, seed by seed; of all but one at each share of errors."""
    arms: list[tuple[str, float, list[str]]] = [("clean", 0.0, _UNVERIFIED)]
    for share in errors:
        arms += [
            (f"erring {share:g}", share, _UNVERIFIED),
            (f"verified {share:g}", share, _VERIFIED),
            (f"verifier {share:g}", share, _VERIFIER),
            (f"majority {share:g}", share, _MAJORITY),
        ]
    figures: dict[str, list[float]] = {name: [] for name, _, _ in arms}
    with connected(None) as cluster:
        for seed in seeds:
            for name, share, options in arms:
                config = config_of(seed, options, quick)
                engines = ErringEngines(config, place(config, cluster))
                engines.errors = share
                # erring answers stay among themselves, and those of a verifier that does not err
                store = f"responses-{share:g}" + "-verifier" * (options is _VERIFIER)
                try:
                    result = run(
                        config,
                        run_dir=f"{out}/{name.replace(' ', '-')}/seed-{seed}",
                        store=f"{out}/{store}",
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
