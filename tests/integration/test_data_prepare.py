"""`prepare_corpus` on real Ray: where every row goes, whatever the files look like."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from baldistill.config import Columns, DataConfig
from baldistill.data import cleaning, duplicates, prepare
from baldistill.data.prepare import prepare_corpus
from baldistill.data.summary import CorpusSummary
from baldistill.data.text import example_ids
from baldistill.errors import DataError
from baldistill.records import EXAMPLES, QUARANTINE, with_optional
from baldistill.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

DOMAINS = {"sums": 60, "days": 20, "rare": 3, "single": 1}


def make_rows(sizes: dict[str, int] = DOMAINS) -> list[dict[str, Any]]:
    return [
        {"question": f"{domain} question {i}?", "answer": str(i), "domain": domain}
        for domain, size in sizes.items()
        for i in range(size)
    ]


def write_jsonl(path: Path, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


def run(
    storage: Storage, train: Any, seed: int = 0, **options: Any
) -> tuple[CorpusSummary, dict[str, list[dict[str, Any]]]]:
    summary = prepare_corpus(DataConfig(train=train, **options), seed, storage)
    assert CorpusSummary(**json.loads(json.dumps(asdict(summary)))) == summary
    return summary, read_out(storage)


def read_out(storage: Storage) -> dict[str, list[dict[str, Any]]]:
    tables = {}
    for name, schema in (
        ("corpus/train", EXAMPLES),
        ("corpus/evaluation", EXAMPLES),
        ("quarantine", QUARANTINE),
    ):
        table = storage.read_table(name)
        assert table.schema.equals(schema)
        key = "row" if name == "quarantine" else "example_id"
        tables[name.rpartition("/")[2]] = sorted(table.to_pylist(), key=lambda row, k=key: row[k])
    assert not storage.exists("corpus/staging")
    return tables


def ids(rows: list[dict[str, Any]]) -> set[str]:
    return {row["example_id"] for row in rows}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.open(tmp_path / "run")


def test_seeded_split(tmp_path: Path, storage: Storage) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", make_rows())
    summary, out = run(storage, path)
    assert summary.num_rows_read == 84
    assert summary.evaluation_counts == {"days": 2, "rare": 1, "sums": 6}
    assert summary.counts == {"days": 18, "rare": 2, "single": 1, "sums": 54}
    assert summary.quarantined == {}
    assert out["quarantine"] == []
    assert len(summary.warnings) == 1
    assert "single" in summary.warnings[0]
    everything = {(row["domain"], row["question"]): row for part in out.values() for row in part}
    assert len(everything) == 84
    for (domain, question), row in everything.items():
        assert row["example_id"] == example_ids([domain], [question])[0]
        assert row["choices"] is None

    # another seed, another split; and an earlier attempt leaves nothing behind
    storage.write_text("quarantine/left-over.parquet", "not parquet")
    _, other = run(storage, path, seed=1)
    assert ids(other["evaluation"]) != ids(out["evaluation"])
    assert ids(other["evaluation"]) | ids(other["train"]) == {
        row["example_id"] for row in everything.values()
    }


def test_files_formats_and_order_do_not_matter(tmp_path: Path, storage: Storage) -> None:
    rows = make_rows()
    _, expected = run(storage, write_jsonl(tmp_path / "one.jsonl", rows))
    random.Random(3).shuffle(rows)
    folder = tmp_path / "folder" / "sub"
    folder.mkdir(parents=True)
    write_jsonl(folder / "z.ndjson", rows[:20])
    for name, pack, some in (
        ("y.json.gz", gzip.compress, rows[20:25]),
        ("y.json.bz2", bz2.compress, rows[25:30]),
        ("y.json.xz", lzma.compress, rows[30:33]),
    ):
        (folder / name).write_bytes(pack("\n".join(json.dumps(row) for row in some).encode()))
    (folder / "y.json").write_text(json.dumps(rows[33:40], indent=1))
    pq.write_table(pa.Table.from_pylist(rows[40:60]), folder / "x.parquet", row_group_size=3)
    for name, delimiter, some in (("w.csv", ",", rows[60:70]), ("v.tsv", "\t", rows[70:])):
        text = io.StringIO()
        writer = csv.DictWriter(text, ["answer", "domain", "question"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(some)
        (folder / name).write_text(text.getvalue())
    (folder / "_SUCCESS").write_text("")
    (folder / "notes.txt").write_text("not data")
    (folder / "empty.jsonl").write_text("\n")
    for source in (
        str(tmp_path / "folder"),
        f"{tmp_path}/folder/**/*.*[a-z2]",
        f"file://{folder}",
        [f"{folder}/?.parquet", f"{folder}/*.[ct]sv", f"{folder}/[y-z].*", f"{folder}/w.csv"],
    ):
        if "**" in source:
            (folder / "notes.txt").unlink()
        _, out = run(storage, source)
        assert out["train"] == expected["train"]
        assert out["evaluation"] == expected["evaluation"]


def test_where_each_bad_row_goes(tmp_path: Path, storage: Storage) -> None:
    good = make_rows({"sums": 20, "days": 20})
    train = write_jsonl(
        tmp_path / "train.jsonl",
        [
            *good[:10],
            "",
            '{"question": "cut of',  # 12
            {"question": "no answer", "domain": "days"},  # 13
            {**good[0], "answer": "other"},  # 14: repeats line 1
            {**good[0], "domain": "days"},  # 15: another domain, no duplicate
            *good[10:],  # 16-45
            {"question": "  held out?\r", "answer": 1, "domain": "days"},  # 46
            {"question": "x" * 21, "answer": 1, "domain": "days"},  # 47
        ],
    )
    evaluation = write_jsonl(
        tmp_path / "evaluation.jsonl",
        [
            {"question": "held out?", "answer": "1", "domain": "sums"},
            {"question": "held out?", "answer": "2", "domain": "sums"},
            {"question": "new?", "answer": "", "domain": "days"},
            {"question": "newer?", "answer": "1", "domain": "days"},
        ],
    )
    summary, out = run(
        storage, train, evaluation=evaluation, max_question_chars=20, max_bad_fraction=0.2
    )
    found = {(Path(row["file"]).name, row["row"]): row["reason"] for row in out["quarantine"]}
    assert found == {
        ("train.jsonl", 12): "malformed_json",
        ("train.jsonl", 13): "missing",
        ("train.jsonl", 14): "duplicate",
        ("train.jsonl", 46): "in_evaluation_set",
        ("train.jsonl", 47): "question_too_long",
        ("evaluation.jsonl", 2): "duplicate",
        ("evaluation.jsonl", 3): "empty",
    }
    assert sum(summary.quarantined.values()) == 7
    assert summary.num_rows_read == 50
    assert summary.counts == {"days": 21, "sums": 20}
    assert summary.evaluation_counts == {"days": 1, "sums": 1}
    (duplicate,) = [r for r in out["quarantine"] if r["row"] == 14]
    assert duplicate["detail"] == f"same domain and question as row 1 of {train}"
    assert json.loads(duplicate["content"])["answer"] == "other"


def test_ids_split_and_choices_columns(tmp_path: Path, storage: Storage) -> None:
    def row(id: Any, question: str, split: str, answer: str = "A") -> dict[str, Any]:
        return {
            "key": id,
            "text": question,
            "gold": answer,
            "topic": "T",
            "options": ["x", "y"],
            "part": split,
        }

    rows = [
        row(1, "one", "train"),
        row(2, "two", "TRAIN", "y"),
        row(1, "three", "train"),  # 3: same id, other content
        row(4, "one", "train"),  # 4: same content, other id
        row(5, "five", "test"),
        row(5, "six", "train"),  # an id of the evaluation set is no duplicate
        row(7, "seven", "bogus"),  # 7
        row(8, "eight", "validation", "z"),  # 8: not among the choices
        row(9, "nine", "Dev"),
        row(None, "ten", "train"),  # 10
    ]
    columns = {
        "question": "text",
        "answer": "gold",
        "domain": "topic",
        "id": "key",
        "split": "part",
        "choices": "options",
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    summary, out = run(storage, str(path), columns=columns, max_bad_fraction=0.5)
    assert {row["row"]: row["reason"] for row in out["quarantine"]} == {
        3: "duplicate_id",
        4: "duplicate",
        7: "unknown_split",
        8: "answer_not_in_choices",
        10: "missing",
    }
    assert {row["example_id"]: row["question"] for row in out["train"]} == {
        "1": "one\nA) x\nB) y",
        "2": "two\nA) x\nB) y",
        "5": "six\nA) x\nB) y",
    }
    assert {row["example_id"] for row in out["evaluation"]} == {"5", "9"}
    assert out["train"][0]["choices"] == ["x", "y"]
    assert any("one domain only (T)" in warning for warning in summary.warnings)


def test_a_big_evaluation_set_is_capped(tmp_path: Path, storage: Storage) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", make_rows({"sums": 5, "days": 5}))
    rows = [{**row, "question": "new " + row["question"]} for row in make_rows({"sums": 30})]
    options = {"evaluation": write_jsonl(tmp_path / "e.jsonl", rows)}
    summary, out = run(storage, train, evaluation_max_per_domain=7, **options)
    assert summary.evaluation_counts == {"sums": 7}
    assert summary.num_capped == 23
    assert any("23 evaluation rows" in warning for warning in summary.warnings)
    assert any("1 domains have no evaluation rows: days" in w for w in summary.warnings)
    write_jsonl(tmp_path / "e.jsonl", rows[::-1])
    _, again = run(storage, train, evaluation_max_per_domain=7, **options)
    assert again["evaluation"] == out["evaluation"]


def test_cut_files_many_parts_and_partitions(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machinery for big corpora gives what one unit gives, line numbers included."""
    rows: list[Any] = make_rows({"sums": 400, "days": 100})
    rows[250:250] = ["", "broken {", rows[7], rows[399]]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    _, expected = run(storage, path)
    assert [row["row"] for row in expected["quarantine"]] == [252, 253, 404]

    plan_segments = prepare.plan_segments
    group = prepare.group_segments
    monkeypatch.setattr(prepare, "plan_segments", lambda files: plan_segments(files, 5_000))
    monkeypatch.setattr(prepare, "group_segments", lambda segments: group(segments, 10_000))
    monkeypatch.setattr(duplicates, "KEYS_PER_PARTITION", 100)
    _, out = run(storage, path)
    assert out == expected
    assert len(storage.list("corpus/train")) > 2


def test_choices_in_some_rows_or_in_none(tmp_path: Path, storage: Storage) -> None:
    rows: list[Any] = make_rows({"sums": 200, "days": 9})
    rows[150] = {**rows[150], "options": ["150", "x"]}
    columns = {"choices": "options"}
    summary, out = run(storage, write_jsonl(tmp_path / "a.jsonl", rows), columns=columns)
    assert summary.warnings == []
    with_choices = [r for r in out["train"] + out["evaluation"] if r["choices"] is not None]
    assert [row["question"] for row in with_choices] == ["sums question 150?\nA) 150\nB) x"]
    del rows[150]
    summary, _ = run(storage, write_jsonl(tmp_path / "a.jsonl", rows), columns=columns)
    assert summary.warnings == ["no row has choices in `options` (data.columns.choices)"]


def test_other_filesystems(tmp_path: Path) -> None:
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    storage = Storage("sub://run", fs, "run")
    summary, _ = run(storage, write_jsonl(tmp_path / "a.jsonl", make_rows()))
    assert sum(summary.counts.values()) == 75
    assert (tmp_path / "run" / "corpus" / "train").is_dir()


def test_the_bundled_corpus(storage: Storage) -> None:
    summary, out = run(storage, "bundled", bundled_rows=500, bundled_evaluation_per_domain=5)
    assert sum(summary.counts.values()) == 500
    assert set(summary.evaluation_counts.values()) == {5}
    assert summary.quarantined == {}
    assert summary.warnings == []
    assert not ids(out["train"]) & ids(out["evaluation"])


def test_user_errors(tmp_path: Path, storage: Storage) -> None:
    rows = make_rows({"sums": 5})
    good = write_jsonl(tmp_path / "good.jsonl", rows)
    bad = write_jsonl(tmp_path / "bad.jsonl", [*rows, "{", "[]", {"question": None}])
    empty = write_jsonl(tmp_path / "empty.jsonl", [])
    alone = write_jsonl(
        tmp_path / "alone.jsonl", [{**rows[0], "domain": "elsewhere", "question": "?"}]
    )
    single = write_jsonl(tmp_path / "single.jsonl", rows[:1])
    for options, message in [
        ({"train": bad}, r"3 of 8 rows cannot be used.*bad.jsonl, row 6: malformed_json"),
        ({"train": bad}, rf"with reasons: {storage.path('quarantine')}.*max_bad_fraction=0.38"),
        ({"train": empty}, "the corpus is empty: data.train=.*empty.jsonl has no rows"),
        ({"train": good, "evaluation": alone}, "training row: elsewhere. To do: add training"),
        ({"train": good, "evaluation": empty}, "evaluation set is empty: data.evaluation="),
        ({"train": good, "evaluation": good}, "is in data.train and in data.evaluation"),
        ({"train": single}, "has a second row to set aside"),
        ({"train": good, "columns": {"split": "answer"}}, "all 5 rows cannot be used.*unknown_spl"),
        ({"train": good, "columns": {"question": "answr"}}, "did you mean `answer`"),
    ]:
        with pytest.raises(DataError, match=f"(?s){message}") as caught:
            prepare_corpus(DataConfig.model_validate(options), 0, storage)
        assert "Traceback" not in str(caught.value)
        assert not storage.exists("corpus/staging")


def test_a_file_broken_in_the_middle(tmp_path: Path, storage: Storage) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(make_rows({"sums": 2000})), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[40:400] = bytes(360)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
        prepare_corpus(DataConfig(train=str(path)), 0, storage)


def test_turns_of_a_chat_stay_on_one_side(tmp_path: Path, storage: Storage) -> None:
    """Of chats that are cut into turns, none is trained on and evaluated on."""
    chats = [
        {
            "id": f"{domain} chat {i}",
            "domain": domain,
            "messages": [
                {"role": role, "content": f"{domain} {i} {turn} {role}"}
                for turn in range(1 + i % 5)
                for role in ("user", "assistant")
            ],
        }
        for domain in ("a", "b")
        for i in range(30)
    ]
    num_turns = sum(len(chat["messages"]) // 2 for chat in chats)
    pq.write_table(pa.Table.from_pylist(chats[:20]), tmp_path / "1.parquet")
    write_jsonl(tmp_path / "2.jsonl", [*chats[20:], chats[0], {**chats[1], "messages": "?"}])
    columns = Columns(messages="messages", each_turn=True, id="id")
    sources = [str(tmp_path / "1.parquet"), str(tmp_path / "2.jsonl")]
    config = DataConfig(train=sources, columns=columns, max_bad_fraction=0.1)
    summary = prepare_corpus(config, 0, storage)
    again = summary.quarantined.pop("in_evaluation_set")
    assert summary.quarantined == {"duplicate": 1, "malformed_chat": 1}
    assert 0 < again < 2 * 5, "the last chat of each domain was cut"
    parts = [storage.read_table(f"corpus/{part}").to_pylist() for part in ("train", "evaluation")]
    assert sum(map(len, parts)) + again == num_turns
    train, held_out = ({row["example_id"].rpartition("-")[0] for row in part} for part in parts)
    assert not train & held_out
    assert held_out < {chat["id"] for chat in chats}
    for row in (*parts[0], *parts[1]):
        shown = [*(row["context"] or []), {"role": "user", "content": row["question"]}]
        chat = next(c for c in chats if c["id"] == row["example_id"].rpartition("-")[0])
        assert chat["messages"][: len(shown)] == shown


def test_lists_of_acceptable_answers(tmp_path: Path, storage: Storage) -> None:
    """A corpus with some has a column for them, in all its files; others have none."""
    rows = make_rows({"sums": 20, "days": 20})
    for row in rows[:20]:
        row["answer"] = [row["answer"], f"no. {row['answer']}"]
    pq.write_table(pa.Table.from_pylist(rows[:20]), tmp_path / "lists.parquet")
    write_jsonl(tmp_path / "texts.jsonl", [*rows[20:], {**rows[0], "question": "?", "answer": []}])
    sources = [str(tmp_path / "lists.parquet"), str(tmp_path / "texts.jsonl")]
    summary = prepare_corpus(DataConfig(train=sources), 0, storage)
    assert summary.quarantined == {"wrong_type": 1}
    assert summary.several_answers
    expected = with_optional(EXAMPLES, ["alternatives"])
    found: list[dict[str, Any]] = []
    for part in ("corpus/train", "corpus/evaluation"):
        for name in storage.tables(part):
            table = storage.read_table(f"{part}/{name}")
            assert table.schema.equals(expected)
            found += table.to_pylist()
    assert len(found) == 40
    for row in found:
        further = [f"no. {row['answer']}"] if row["domain"] == "sums" else None
        assert row["alternatives"] == further


def test_near_duplicates_go_to_quarantine_with_their_partner(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the work is divided; and rows near the evaluation set are not trained on."""
    rng = random.Random(0)
    words = [f"{a}{b}{c}" for a in "klmnp" for b in "aeiou" for c in "rstvz"]
    rows = [
        {"question": " ".join(rng.choices(words, k=20)), "answer": "a", "domain": rng.choice("ab")}
        for _ in range(300)
    ]
    copies = [{**row, "question": row["question"] + " please"} for row in rows[:40]]
    elsewhere = {**rows[50], "question": rows[50]["question"] + " ?", "domain": "b"}
    elsewhere["domain"] = {"a": "b", "b": "a"}[rows[50]["domain"]]
    first = write_jsonl(tmp_path / "1.jsonl", [*rows, *copies[:20], elsewhere])
    second = write_jsonl(tmp_path / "2.jsonl", copies[20:])
    asked = [{**rows[60], "question": "so " + rows[60]["question"], "domain": "a"}]
    asked += [{**asked[0], "question": rows[299]["question"] + " now"}, *make_rows({"b": 3})]
    asked.append({**asked[1], "question": asked[1]["question"] + " !"})
    evaluation = write_jsonl(tmp_path / "e.jsonl", asked)
    options: Any = {"evaluation": evaluation, "near_duplicates": True}
    summary, out = run(storage, [first, second], **options)
    assert summary.quarantined == {"near_duplicate": 43}
    assert len(out["train"]) == 341 - 42
    found = {(Path(r["file"]).name, r["row"]): r["detail"] for r in out["quarantine"]}
    for number in range(20):
        assert found["1.jsonl", 301 + number].endswith(f" like row {1 + number} of {first}")
        assert found["2.jsonl", 1 + number].endswith(f" like row {21 + number} of {first}")
    where = f"of {evaluation}, which is in the evaluation set"
    assert found["1.jsonl", 61].endswith(f" like row 1 {where}")
    assert found["1.jsonl", 300].endswith(f" like row 2 {where}")
    assert found["e.jsonl", 6].endswith(f" like row 2 of {evaluation}")

    plan_segments, group = prepare.plan_segments, prepare.group_segments
    monkeypatch.setattr(prepare, "plan_segments", lambda files: plan_segments(files, 10_000))
    monkeypatch.setattr(prepare, "group_segments", lambda segments: group(segments, 10_000))
    monkeypatch.setattr(duplicates, "KEYS_PER_PARTITION", 2_000)
    monkeypatch.setattr(cleaning, "NGRAMS_PER_ROUND", 800)
    again, same = run(storage, [first, second], **options)
    assert (again, same) == (summary, out)
    assert len(storage.list("corpus/train")) > 2

    # a seeded split, domains by words: no row of the evaluation set is near another row
    made: Any = {"columns": {"domain": None}, "domains": {"clusters": 2}}
    summary, out = run(storage, [first, second], near_duplicates={"threshold": 0.7}, **made)
    assert summary.num_rows_read == 341
    asked_again = {row["question"].removesuffix(" ?") for row in out["evaluation"]}
    kept = {row["question"].removesuffix(" please").removesuffix(" ?") for row in out["train"]}
    assert len(asked_again) > 10
    assert not kept & {question.removesuffix(" please") for question in asked_again}


def test_rows_that_hold_a_question_of_a_benchmark_are_not_trained_on(
    tmp_path: Path, storage: Storage
) -> None:
    rng = random.Random(1)
    words = [f"{a}{b}{c}" for a in "klmnp" for b in "aeiou" for c in "rstvz"]
    asked = [" ".join(rng.choices(words, k=16)) for _ in range(9)]
    rows = [
        {"question": " ".join(rng.choices(words, k=20)), "answer": "a", "domain": "ab"[i % 2]}
        for i in range(100)
    ]
    rows[3]["question"] = f"{rows[3]['question']}. {asked[0].upper()}! And then?"
    rows[5]["question"] = "What is it? " + " ".join(asked[1].split()[:12])  # 5 of 9 8-grams
    rows[6]["question"] = "What is it? " + " ".join(asked[2].split()[:11])  # 4 of 9
    rows[7]["question"] = f"{asked[4]} {asked[8]}"
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    held = [{**rows[0], "question": question} for question in [*asked[:4], "Why?"]]
    evaluation = write_jsonl(tmp_path / "e.jsonl", held)
    path = tmp_path / "benchmark.csv"
    path.write_text("id,prompt\n" + "".join(f"{i},{q}\n" for i, q in enumerate(asked[4:])) + "x,\n")
    rule = {"files": str(path), "column": "prompt"}
    summary, out = run(storage, train, evaluation=evaluation, decontaminate=rule)
    assert {row["row"]: (row["reason"], row["detail"]) for row in out["quarantine"]} == {
        4: ("contaminated", f"holds 100% of the n-grams of row 1 of {evaluation}"),
        6: ("contaminated", f"holds 56% of the n-grams of row 2 of {evaluation}"),
        8: ("contaminated", f"holds 100% of the n-grams of row 1 of {path}"),
    }
    assert summary.quarantined == {"contaminated": 3}
    assert sum(summary.counts.values()) == 97
    short, no_text = sorted(w for w in summary.warnings if "row" in w and "no eval" not in w)
    assert no_text == f"1 rows of {path} have no text in `prompt`: nothing is compared with them"
    assert short.startswith("1 of 10 questions of the evaluation set, ")

    # a seeded split: its rows are no leak of themselves
    for rule in (True, {"threshold": 1.0, "ngram": 12}):
        summary, out = run(storage, train, decontaminate=rule)
        assert summary.quarantined == {}
        assert len(out["evaluation"]) == 10
    for rule, message in [
        (["nowhere.jsonl"], r"data.decontaminate.files: nowhere.jsonl does not exist"),
        ([str(path)], r"no column `question`.*Set data.decontaminate.column=NAME"),
        ({"ngram": 40}, r"no question of the evaluation set has 40 words.*decontaminate.ngram"),
    ]:
        with pytest.raises(DataError, match=f"(?s){message}"):
            run(storage, train, decontaminate=rule)
