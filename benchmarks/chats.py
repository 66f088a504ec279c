"""Chats: what their preparation costs as rows grow, beside questions in columns.

    python benchmarks/chats.py [--quick] [--rows 250000,1000000]

Generated chats of a system turn and one to four exchanges, as JSON lines: CPU seconds and peak
memory (private pages) of the preparation with the last turns, with an example for each turn of the
assistant (`each_turn`), and, as the reference, of the last questions and answers in columns of
their own, without context. A line for each; JSON last.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preparation import measured, prepare, sizes_to_measure

_SYSTEM = {"role": "system", "content": "You help the customers of a shop."}


def main() -> None:
    sizes = sizes_to_measure(__doc__, prepared)
    if sizes is None:
        return
    found = measured(__file__, sizes, ("chats", "each_turn", "columns"))
    ours, reference = found[-3]["cpu_seconds"], found[-1]["cpu_seconds"]
    print(
        json.dumps(
            {
                "name": "chats",
                "ours": ours,
                "reference": reference,
                "ratio": ours / reference,
                "unit": "CPU seconds of the preparation",
                "what": f"{found[-1]['rows']} chats; reference: their last turns in columns",
                "sizes": found,
            }
        )
    )


def chats(rows: int) -> Iterator[dict[str, Any]]:
    """Yield chats of 5 to 24 words a turn, in 20 domains."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randrange(2, 9))) for _ in range(30_000)]
    for _ in range(rows):
        turns = [_SYSTEM]
        for _ in range(rng.randrange(1, 5)):
            for role in ("user", "assistant"):
                content = " ".join(rng.choices(words, k=rng.randrange(5, 25)))
                turns.append({"role": role, "content": content})
        yield {"messages": turns, "domain": f"d{rng.randrange(20)}"}


def prepared(rows: int, kind: str) -> dict[str, Any]:
    """Prepare so many chats, or their last turns as columns."""
    from baldistill.storage import Storage

    with tempfile.TemporaryDirectory(prefix="baldistill-chats-") as scratch:
        corpus = Path(scratch) / "corpus.jsonl"
        with corpus.open("w") as file:
            for chat in chats(rows):
                question, answer = (turn["content"] for turn in chat["messages"][-2:])
                if kind == "columns":
                    chat = {"question": question, "answer": answer, "domain": chat["domain"]}
                file.write(json.dumps(chat) + "\n")
        columns = {"domain": "domain"}
        if kind != "columns":
            columns["messages"] = "messages"
        values = {"train": str(corpus), "task": "free_text", "columns": columns}
        if kind == "each_turn":
            values["columns"] = columns | {"each_turn": True}
        summary, cost = prepare(values, Storage.open(Path(scratch) / "run"))
        size = corpus.stat().st_size
    examples = sum(summary.counts.values())
    return {"rows": rows, "kind": kind, "mib": size >> 20, "examples": examples, **cost}


if __name__ == "__main__":
    main()
