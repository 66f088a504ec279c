"""A real pretrained model as the student, on the CPU: chat template, training, answers, marks.

    export BALDISTILL_REAL_STUDENT=/models/SmolLM2-135M-Instruct
    python -m pytest tests/integration/test_real_student.py

Any folder of a small chat model does; it takes some minutes, and is skipped without one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from baldistill import run
from baldistill.config.loading import load_config

FOLDER = os.environ.get("BALDISTILL_REAL_STUDENT", "")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.skipif(not FOLDER, reason="BALDISTILL_REAL_STUDENT names no model folder"),
]

STORIES = {
    "grain": ["Wheat exports rose {} pct.", "Corn stocks fell by {} mln tonnes."],
    "gold": ["The mine sold {} ounces of gold.", "Gold reached {} dlrs an ounce."],
}


def write(folder: Path) -> None:
    """Seven stories to learn and one to be marked by in each domain, explained; new ones, too."""
    real, new, held_out = [], [], []
    for label, texts in STORIES.items():
        for number in range(8):
            text = texts[number % 2].format(number + 2)
            row = {"domain": label, "question": text, "answer": label}
            row["rationale"] = f"The story is about {label}."
            (held_out if number == 7 else new if label == "gold" and number > 1 else real).append(
                row
            )
    for name, rows in (("real", real), ("new", new), ("evaluation", held_out)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_stage_of_eight_examples(tmp_path: Path) -> None:
    write(tmp_path)
    recorded = tmp_path / "real.jsonl"
    config = load_config(
        None,
        [
            "stages=1",
            "budget.total=8",
            "budget.policy=naive",
            f"data.train={tmp_path}/real.jsonl",
            f"data.evaluation={tmp_path}/evaluation.jsonl",
            "data.task=classification",
            "tail.votes=0",
            "rationale.on_mismatch=keep",
            f"teacher={{kind: replay, path: {recorded}, synthetic: {tmp_path}/new.jsonl}}",
            "teacher.columns.answer=answer",
            f"student.model={FOLDER}",
            "student.epochs=2",
            "student.batch_size=4",
            "student.max_length=256",
            "student.learning_rate=1.0e-4",
            "student.num_workers=0",
            "student.response.max_new_tokens=12",
        ],
    )
    result = run(config, run_dir=tmp_path / "run")
    stage = tmp_path / "run/stages/01"
    annotated = pq.read_table(stage / "annotated.parquet").to_pylist()
    sources = sorted((row["domain"], row["source"]) for row in annotated)
    assert sources == [("gold", "real")] * 2 + [("gold", "synthetic")] * 2 + [("grain", "real")] * 4

    trained = json.loads((tmp_path / "run/_commits/stages/01/student.json").read_text())["figures"]
    assert (trained["num_examples"], trained["num_steps"]) == (8, 4)
    assert (trained["truncated"], trained["dropped"]) == (0, 0), "prompts fit their chat template"
    assert 0 < trained["losses"][-1][1] < trained["losses"][0][1]

    answers = pq.read_table(stage / "responses.parquet").to_pylist()
    assert len(answers) == 2
    tokenizer = AutoTokenizer.from_pretrained(stage / "student")
    for row in answers:
        assert row["error"] is None
        assert row["num_tokens"] > 0
        assert not any(token in row["response"] for token in tokenizer.all_special_tokens)
        assert row["score"] == (row["prediction"] == row["answer"])
    assert 0 <= result.metrics["stages"]["stage 1"]["macro"] <= 1

    before = AutoTokenizer.from_pretrained(FOLDER)
    turn = [{"role": "user", "content": "What is gold?"}]
    assert before.chat_template == tokenizer.chat_template
    assert before.apply_chat_template(turn) == tokenizer.apply_chat_template(turn)
    assert AutoModelForCausalLM.from_pretrained(stage / "student").num_parameters() > 0
    print(json.dumps({"losses": trained["losses"], "answers": [a["response"] for a in answers]}))
