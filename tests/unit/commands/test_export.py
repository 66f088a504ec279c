"""`baldistill export`: what a student learnt from, in the formats that other trainers read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import FINISHED, mistake, without_login
from servers.hub import Hub, hub
from transformers import AutoTokenizer

import baldistill
from baldistill.bundled import model_dir
from baldistill.commands.card_facts import facts
from baldistill.errors import UserError
from baldistill.records import OPTIONAL_OF_ANNOTATED
from baldistill.run_folder.reader import read_run
from baldistill.student.encode import Lesson, encode_examples
from baldistill.teacher.parsing import target_text
from baldistill.teacher.prompts import load_prompts
from baldistill.yaml12 import read_yaml

TOKEN = f"hf_{'a1b2' * 6}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two stages, whose student was shown texts."""
    return Path(shutil.copytree(FINISHED, tmp_path / "run"))


@pytest.fixture
def chat_run(run: Path) -> Path:
    """The same, as if the student had been shown chats."""
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("prompts: auto", "prompts: instruct"))
    return run


def annotated(run: Path, *stages: int) -> list[dict[str, Any]]:
    tables = [pq.read_table(run / f"stages/{stage:02d}/annotated.parquet") for stage in stages]
    return [row for table in tables for row in table.to_pylist()]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text("utf-8").splitlines()]


def test_texts_are_prompt_and_completion_as_the_student_was_shown_them(run: Path) -> None:
    done = baldistill.export(run)
    assert (done.format, done.stage, done.num_examples) == ("prompt-completion", 2, 24)
    rows, trained = lines(run / "export/prompt-completion"), annotated(run, 1, 2)
    assert len(rows) == len(trained) == 24
    prompts = load_prompts("compact", model="bundled")
    for row, source in zip(rows, trained, strict=True):
        shown = prompts.render("student", question=source["question"], domain=source["domain"])
        assert row == {
            "prompt": f"<bos>{shown}",  # which the bundled tokenizer does not add by itself
            "completion": target_text(source["rationale"], source["answer"]),
            "domain": source["domain"],
            "source": source["source"],
        }


def test_an_example_that_teaches_both_is_a_row_for_its_answer_and_one_for_its_rationale(
    run: Path,
) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("target: rationale", "target: both"))
    assert baldistill.export(run).num_examples == 24
    folder = run / "export/prompt-completion"
    shown = [(row["prompt"], row["completion"]) for row in lines(folder)]
    wanted = []
    for source in annotated(run, 1, 2):
        wanted.append((f"<bos>Predict: {source['question']}\n", f"Answer: {source['answer']}"))
        if source["rationale"]:
            wanted.append((f"<bos>Explain: {source['question']}\n", source["rationale"]))
    assert shown == wanted
    assert len(shown) > 40
    assert "An example is two rows" in (folder / "README.md").read_text("utf-8")


def lesson(row: dict[str, str]) -> Lesson:
    return Lesson(row["prompt"].removeprefix("<bos>"), row["completion"])


def test_token_for_token_what_we_train_on(run: Path) -> None:
    baldistill.export(run)
    tokenizer = AutoTokenizer.from_pretrained(model_dir("student"))
    rows = lines(run / "export/prompt-completion")
    ours = encode_examples([lesson(row) for row in rows], tokenizer, 1024).rows
    for row, encoded in zip(rows, ours, strict=True):
        text = row["prompt"] + row["completion"] + tokenizer.eos_token  # as TRL joins them
        assert encoded["input_ids"] == tokenizer(text)["input_ids"]
        given = len(tokenizer(row["prompt"])["input_ids"])
        assert encoded["labels"][:given] == [-100] * given
        assert -100 not in encoded["labels"][given:]


def test_trl_trains_on_the_file_as_we_do(run: Path, tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    baldistill.export(run)
    folder = run / "export/prompt-completion"
    data = load_dataset(
        "json",
        data_files=str(folder / "train.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    arguments = SFTConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=1,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    student = run / "stages/02/student"
    shutil.copytree(model_dir("student"), student, dirs_exist_ok=True)  # the fixture's is cut
    trainer = SFTTrainer(model=str(student), args=arguments, train_dataset=data)
    assert trainer.train().global_step == 1
    tokenizer = AutoTokenizer.from_pretrained(model_dir("student"))
    rows = lines(folder)
    ours = encode_examples([lesson(row) for row in rows], tokenizer, 1024).rows
    for row, theirs in zip(ours, trainer.train_dataset, strict=True):
        assert row == {name: theirs[name] for name in ("input_ids", "labels")}


def test_chats_are_messages(chat_run: Path) -> None:
    assert baldistill.export(chat_run).format == "messages"
    rows, trained = lines(chat_run / "export/messages"), annotated(chat_run, 1, 2)
    for row, source in zip(rows, trained, strict=True):
        *before, last = row["messages"]
        target = target_text(source["rationale"], source["answer"])
        assert last == {"role": "assistant", "content": target}
        assert before[-1]["role"] == "user"
        assert source["question"] in before[-1]["content"]
    baldistill.export(chat_run, format="prompt-completion")
    again = lines(chat_run / "export/prompt-completion")
    assert [[*row["prompt"], *row["completion"]] for row in again] == [r["messages"] for r in rows]
    baldistill.export(chat_run, format="alpaca")
    for row, alpaca in zip(rows, lines(chat_run / "export/alpaca"), strict=True):
        assert alpaca["output"] == row["messages"][-1]["content"]
        texts = [turn["content"] for turn in row["messages"][:-1]]
        assert "\n\n".join(filter(None, [alpaca["system"], alpaca["instruction"]])) == "\n\n".join(
            texts
        )


def test_parquet_has_the_columns_of_the_run_too(chat_run: Path) -> None:
    baldistill.export(chat_run, format="parquet")
    rows = pq.read_table(chat_run / "export/parquet/train.parquet").to_pylist()
    for row, source in zip(rows, annotated(chat_run, 1, 2), strict=True):
        assert source.items() <= row.items()
        assert row["prompt"][-1]["role"] == "user"
    assert {row["stage"] for row in rows} == {1, 2}


def test_parquet_has_the_optional_columns_that_a_stage_has(run: Path) -> None:
    path = run / "stages/02/annotated.parquet"
    table = pq.read_table(path)
    values: dict[str, Any] = {
        "alternatives": ["four", "IV"],
        "context": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}],
        "repaired": True,
    }
    for field in OPTIONAL_OF_ANNOTATED:
        column = pa.array([values[field.name]] + [None] * (len(table) - 1), field.type)
        table = table.append_column(field, column)
    pq.write_table(table, path)
    baldistill.export(run, format="parquet")
    exported = pq.read_table(run / "export/parquet/train.parquet")
    assert exported.schema.names[-3:] == list(values)
    before, rows = len(annotated(run, 1)), exported.to_pylist()
    for row, source in zip(rows[before:], annotated(run, 2), strict=True):
        assert source.items() <= row.items()
    assert values.items() <= rows[before].items()
    assert {row["context"] is None for row in rows[:before]} == {True}, "stage 1 has no such column"
    baldistill.export(run, format="parquet", stage=1)
    first = pq.read_schema(run / "export/parquet/train.parquet")
    assert not values.keys() & set(first.names)


def test_a_stage_and_what_its_student_learnt_from(run: Path, tmp_path: Path) -> None:
    config = run / "config.yaml"
    assert len(annotated(run, 1)) == baldistill.export(run, stage=1).num_examples
    config.write_text(config.read_text().replace("data: cumulative", "data: stage"))
    done = baldistill.export(run, stage=2, out=tmp_path / "out")
    assert done.num_examples == len(annotated(run, 2))
    with pytest.raises(UserError, match=r"--stage 3: .* has annotated in the stages 1 to 2"):
        baldistill.export(run, stage=3)


def test_the_card_says_what_it_is(run: Path) -> None:
    baldistill.export(run)
    card = (run / "export/prompt-completion/README.md").read_text("utf-8")
    assert card.startswith("---\n")
    assert "- n<1K\n" in card
    assert "  data_files: train.jsonl\n" in card
    counts: dict[str, int] = {}
    for row in annotated(run, 1, 2):
        counts[row["domain"]] = counts.get(row["domain"], 0) + 1
    for domain, count in counts.items():
        assert f"| {domain} | {count} |" in card
    assert "127.0.0.1" not in card, "addresses of servers are nobody's business"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("hf://datasets/al/tulu@v1.0/data/train-*.parquet", None),
        ("hf://datasets/al/tulu?config=main&split=train", None),
        (f"hf://datasets/al/tulu?split=train&token={TOKEN}", "tulu?split=train&token=*** |"),
        (f"hf://me:{TOKEN}@datasets/al/tulu/rows.jsonl", "@datasets/al/tulu/rows.jsonl |"),
        ("/home/me/secret/rows.jsonl", "| corpus | rows.jsonl |"),
        ("s3://me:password@bucket/rows.jsonl?region=x", "| corpus | rows.jsonl |"),
    ],
)
def test_a_card_names_a_corpus_of_the_hub_in_full_without_secrets(
    run: Path, source: str, shown: str | None
) -> None:
    config = run / "config.yaml"
    values = read_yaml(config.read_text())
    values["data"]["train"] = source
    config.write_text(json.dumps(values))
    card = "\n".join(facts(read_run(run)))
    assert (shown or f"| corpus | {source} |") in card
    for secret in (TOKEN, "/home/me", "password"):
        assert secret not in card


def test_an_export_replaces_an_export_and_nothing_else(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    baldistill.export(run, stage=1, out=out)
    assert baldistill.export(run, out=out).num_examples == len(lines(out))
    (out / "thesis").mkdir()
    assert "holds something else (thesis)" in mistake(capsys, "export", str(run), "--out", str(out))
    assert (out / "thesis").exists()
    said = mistake(capsys, "export", str(run), "--format", "messages")
    assert "use prompt-completion, alpaca or parquet" in said
    assert "no run folder" in mistake(capsys, "export", str(tmp_path))


def push(run: Path, home: Path, name: str, *options: str, **variables: str) -> tuple[int, str]:
    return without_login("export", str(run), "--push", name, *options, home=home, **variables)


def test_a_push_uploads_file_and_card_privately(run: Path, tmp_path: Path) -> None:
    with hub() as server:
        here = {"HF_ENDPOINT": server.endpoint, "HF_TOKEN": Hub.token}
        status, said = push(run, tmp_path, "me/puzzles", **here)
        assert status == 0, said
        assert said.splitlines()[-1] == f"{server.endpoint}/datasets/me/puzzles"
        assert server.private == {"me/puzzles": True}
        folder = run / "export/prompt-completion"
        assert server.files == {
            f"me/puzzles/{name}": (folder / name).read_bytes()
            for name in ("README.md", "train.jsonl")
        }
        assert push(run, tmp_path, "me/open", "--public", **here)[0] == 0
        assert server.private["me/open"] is False


def test_what_a_user_can_mend_about_a_push(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub() as server:
        here = {"HF_ENDPOINT": server.endpoint}
        status, said = push(run, tmp_path, "me/puzzles", **here)
        assert status == 2
        assert "run `hf auth login`" in said
        status, said = push(run, tmp_path, "me/puzzles", **here, HF_TOKEN=Hub.reader)
        assert status == 2
        assert "your token may not write to me/puzzles" in said
        assert server.files == {}
    status, said = push(run, tmp_path, "me/puzzles", **here, HF_TOKEN=Hub.token)
    assert status == 2
    assert "the hub cannot be reached" in said
    # this process is offline
    said = mistake(capsys, "export", str(run), "--push", "my puzzles")
    assert "'my puzzles' is no name on the hub" in said
    assert "HF_HUB_OFFLINE is set" in mistake(capsys, "export", str(run), "--push", "me/puzzles")
