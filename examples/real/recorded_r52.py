"""Turn the recorded answers of the authors of the paper into the two files of `r52-recorded.yaml`.

    git clone https://github.com/Tonyzhou98/long_tail_kd        # Apache-2.0
    baldistill data make r52 --out data/r52
    python examples/real/recorded_r52.py long_tail_kd/dataset/r52/r52_chatgpt_cot_train*.jsonl

Each line of theirs has `label`, `text` and `rationale`. A text that stands in the corpus is a real
story that their teacher explained: it goes to `recorded.parquet`, with the question as the corpus
spells it. Any other text was written by their teacher: it goes to `synthetic.parquet`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_LETTERS = 200  # at the beginning of a story: the copies differ in spacing, marks and length


def main(files: list[str], folder: Path = Path("data/r52")) -> None:
    """Write `recorded.parquet` and `synthetic.parquet` beside the corpus in a folder."""
    corpus = pq.read_table(folder / "train.parquet", columns=["question"])["question"].to_pylist()
    evaluation = pq.read_table(folder / "evaluation.parquet", columns=["question"])["question"]
    known = {_key(question): question for question in corpus}
    held_out = {_key(question) for question in evaluation.to_pylist()}
    recorded: dict[tuple[str, str], dict[str, str]] = {}
    synthetic: dict[tuple[str, str], dict[str, str]] = {}
    for file in files:
        with open(file, encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        for row in rows:
            key = _key(row["text"])
            if key in held_out or not row.get("rationale"):
                continue
            kept = recorded if key in known else synthetic
            question = known.get(key, row["text"])
            kept[question, row["rationale"]] = {
                "domain": row["label"],
                "question": question,
                "answer": row["label"],
                "rationale": row["rationale"],
            }
    for name, found in (("recorded", recorded), ("synthetic", synthetic)):
        pq.write_table(pa.Table.from_pylist(list(found.values())), folder / f"{name}.parquet")
        print(f"{folder / name}.parquet: {len(found):,} rows")


def _key(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())[:_LETTERS]


if __name__ == "__main__":
    main(sys.argv[1:])
