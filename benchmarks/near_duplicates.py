"""Near duplicates and contaminated rows: how many of the planted ones are found, and what it costs.

    python benchmarks/near_duplicates.py [--quick] [--rows 250000,1000000]

Corpora of generated questions of growing size. In 5 % of the rows stands an earlier question with
one to three of its words changed, and in 0.5 % a question of a benchmark file within other text.
Recall and precision against what was planted (a planted pair counts if its similarity is at least
the threshold), CPU seconds and peak memory (private pages) of the preparation with both options,
and, as the reference, without them. A line for each; JSON last.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from preparation import measured, prepare, sizes_to_measure

NEAR, HELD = 0.05, 0.005
_NUM_ASKED = 2_000


def main() -> None:
    sizes = sizes_to_measure(__doc__, prepared)
    if sizes is None:
        return
    found = measured(__file__, sizes, ("cleaned", "plain"))
    ours, reference = found[-2]["cpu_seconds"], found[-1]["cpu_seconds"]
    print(
        json.dumps(
            {
                "name": "near_duplicates",
                "ours": ours,
                "reference": reference,
                "ratio": ours / reference,
                "unit": "CPU seconds of the preparation",
                "what": f"{found[-1]['rows']} rows, both options; reference: without them",
                "sizes": found,
            }
        )
    )


class Questions:
    """Writes a corpus and a benchmark file, and knows what it planted."""

    def __init__(self, rows: int, folder: Path) -> None:
        self.corpus, self.benchmark = folder / "corpus.jsonl", folder / "benchmark.jsonl"
        self.near: set[int] = set()
        self.below: set[int] = set()
        self.held: dict[int, str] = {}
        rng = random.Random(0)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = ["".join(rng.choices(letters, k=rng.randrange(2, 9))) for _ in range(30_000)]
        asked = [self._question(rng) for _ in range(_NUM_ASKED)]
        with self.benchmark.open("w") as file:
            file.writelines(json.dumps({"question": question}) + "\n" for question in asked)
        earlier: list[str] = []
        with self.corpus.open("w") as file:
            for number in range(1, rows + 1):
                question, kind = self._question(rng), rng.random()
                if kind < NEAR and earlier:
                    first = rng.choice(earlier)
                    question = self._changed(rng, first)
                    (self.near if similarity(first, question) >= 0.8 else self.below).add(number)
                elif kind < NEAR + HELD:
                    question = f"{question}: {rng.choice(asked)}"
                    self.held[number] = question
                elif len(earlier) < 100_000:
                    earlier.append(question)
                row = {"question": question, "answer": "1", "domain": "d"}
                file.write(json.dumps(row) + "\n")

    def _question(self, rng: random.Random) -> str:
        return " ".join(rng.choices(self._words, k=rng.randrange(15, 50)))

    def _changed(self, rng: random.Random, question: str) -> str:
        words = question.split()
        for _ in range(rng.randrange(1, 4)):
            words[rng.randrange(len(words))] = rng.choice(self._words)
        return " ".join(words)


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of two questions' three words in a row."""
    sets = []
    for words in (one.split(), other.split()):
        sets.append({tuple(words[i : i + 3]) for i in range(len(words) - 2)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def prepared(rows: int, kind: str) -> dict[str, Any]:
    """Prepare a corpus of so many questions, cleaned or plain."""
    from baldistill.storage import Storage

    with tempfile.TemporaryDirectory(prefix="baldistill-cleaned-") as scratch:
        made = Questions(rows, Path(scratch))
        values: dict[str, Any] = {"train": str(made.corpus)}
        if kind == "cleaned":
            values |= {"near_duplicates": True, "decontaminate": [str(made.benchmark)]}
        storage = Storage.open(Path(scratch) / "run")
        _, cost = prepare(values, storage)
        found: dict[str, set[int]] = {"near_duplicate": set(), "contaminated": set()}
        for row in storage.read_table("quarantine").to_pylist():
            found.setdefault(row["reason"], set()).add(row["row"])
        evaluated = set(storage.read_table("corpus/evaluation")["question"].to_pylist())
    near, held = found["near_duplicate"], found["contaminated"]
    planted = {number for number, question in made.held.items() if question not in evaluated}
    figures: dict[str, Any] = {"rows": rows, "kind": kind, **cost}
    if kind == "cleaned":
        # "wrong" for the benchmark file: such a row may hold a question of the evaluation set
        figures |= {
            "planted_near": len(made.near),
            "near_recall": round(len(near & made.near) / len(made.near), 4),
            "near_wrong": len(near - made.near),
            "planted_held": len(planted),
            "held_recall": round(len(held & planted) / len(planted), 4),
            "held_wrong": len(held - planted),
        }
    return figures


if __name__ == "__main__":
    main()
