"""A corpus of chats goes through a whole run: the student learns and answers in context."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import ENGINES

from baldistill.commands.export import export
from baldistill.commands.run import run
from baldistill.config.loading import load_config
from baldistill.placement.engines import Engines

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OPTIONS = [
    *ENGINES,
    "data.columns={messages: messages, domain: domain, answer: answer, id: id}",
    "stages=2",
    "budget.total=12",
    "selection.first_stage=metric",
    "tail.fill=none",
    "rationale.on_mismatch=label_only",
    "student.prompts=instruct",
    "student.epochs=1",
    "student.response.max_new_tokens=4",
]


def chat(domain: str, number: int) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"You know {domain}."},
        {"role": "user", "content": f"I have {number}."},
        {"role": "assistant", "content": "And then?"},
        {"role": "user", "content": "How many is that?"},
    ]


def test_a_run_on_chats(tmp_path: Path, engines: Engines) -> None:
    rows = [
        {
            "id": f"{domain} {number}",
            "domain": domain,
            "messages": chat(domain, number),
            "answer": [str(number), f"{number} apples"],
        }
        for domain in ("apples", "pears")
        for number in range(15)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "chats.parquet")
    config = load_config(None, [*OPTIONS, f"data.train={tmp_path}/chats.parquet"])
    result = run(config, run_dir=tmp_path / "run", engines=engines, quiet=True)
    assert result.metrics["budget"]["annotated"] == 12
    by_id = {row["id"]: row for row in rows}
    for name in ("selected", "annotated", "responses"):
        for stage in ("01", "02"):
            table = pq.read_table(tmp_path / "run" / "stages" / stage / f"{name}.parquet")
            assert len(table)
            for row in table.to_pylist():
                given = by_id[row["example_id"]]
                assert row["context"] == given["messages"][:-1]
                assert [row["answer"], *row["alternatives"]] == given["answer"]
    made = export(tmp_path / "run", format="messages")
    lines = Path(made.folder, made.file).read_text("utf-8").splitlines()
    assert len(lines) == 12
    for line in lines:
        *before, asked, said = json.loads(line)["messages"]
        assert [turn["role"] for turn in before] == ["system", "user", "assistant"]
        assert "How many is that?" in asked["content"]
        assert said["role"] == "assistant"
