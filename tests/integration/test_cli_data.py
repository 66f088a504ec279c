"""`baldistill data`: look at a corpus, check it, make it long-tailed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from baldistill.cli import app, main
from baldistill.config.loading import load_config
from baldistill.errors import ConfigError, DataError, UserError

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

SIZES = {"sums": 80, "days": 60, "rare": 40}


@pytest.fixture
def file(tmp_path: Path) -> str:
    rows = [
        json.dumps({"question": f"{domain} {i}?", "answer": str(i), "topic": domain})
        for domain, size in SIZES.items()
        for i in range(size)
    ]
    rows.insert(2, '{"question": "broken')
    rows.append(rows[0])
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def invoke(*arguments: str) -> tuple[dict[str, object], str]:
    done = CliRunner().invoke(app, ["data", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1]), " ".join(done.stderr.split())


def test_describe_and_validate(file: str) -> None:
    found, shown = invoke("describe", file, "data.columns.domain=topic", "--json")
    assert found["counts"] == {"days": 54, "rare": 36, "sums": 72}
    assert found["quarantined"] == {"duplicate": 1, "malformed_json": 1}
    assert found["head"] == ["days", "rare", "sums"]
    assert "162 examples in 3 domains: largest 72, smallest 36 (2.0 : 1)" in shown

    found, shown = invoke("validate", file, "data.columns.domain=topic", "--json")
    assert f"{file}:3: malformed_json" in shown
    assert f"{file}:182: duplicate: same domain and question as row 1 of {file}" in shown
    assert found["num_rows_read"] == 182


def test_describe_counts_near_duplicates_and_contaminated_rows(tmp_path: Path) -> None:
    rng, words = random.Random(0), [f"{a}{b}" for a in "klmnp" for b in "aeiou"]
    rows = [
        {"question": " ".join(rng.choices(words, k=14)), "answer": "a", "domain": "d"}
        for _ in range(30)
    ]
    held = " ".join(words[:9])
    rows += [{**rows[0], "question": rows[0]["question"].upper() + " ?"}]
    rows += [{**rows[0], "question": f"{held} or not"}]
    path, asked = tmp_path / "corpus.jsonl", tmp_path / "asked.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    asked.write_text(json.dumps({"question": held}) + "\n")
    evaluation = tmp_path / "evaluation.jsonl"
    evaluation.write_text(json.dumps({**rows[0], "question": " ".join(words[::-1])}))
    options = [
        f"data.evaluation={evaluation}",
        "data.near_duplicates={threshold: 0.7}",
        f"data.decontaminate=[{asked}]",
    ]
    found, shown = invoke("describe", str(path), *options, "--json")
    assert found["quarantined"] == {"contaminated": 1, "near_duplicate": 1}
    assert "left out: 1 contaminated, 1 near_duplicate" in shown
    _, shown = invoke("validate", str(path), *options, "--json")
    assert f"{path}:31: near_duplicate: 0.92 like row 1 of {path}" in shown
    assert f"{path}:32: contaminated: holds 100% of the n-grams of row 1 of {asked}" in shown
    done = CliRunner().invoke(app, ["plan", f"data.train={path}", *options])
    assert "left out: 1 contaminated, 1 near_duplicate" in " ".join(done.stderr.split())


def test_validate_says_whether_a_run_would_stop(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = ["data.columns.domain=topic", "data.max_bad_fraction=0.001"]
    with pytest.raises(SystemExit) as end:
        main(["data", "validate", file, *strict, "--rows", "1"])
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert f"{file}:3: malformed_json" in shown
    assert "and 1 more" in shown
    assert "1 of 182 rows cannot be used" in shown


def test_zipf_makes_a_corpus_that_a_run_reads(file: str, tmp_path: Path) -> None:
    arguments = ["make", "zipf", "data.columns.domain=topic", "--input", file, "--alpha", "2"]
    made, _ = invoke(*arguments, "--out", str(tmp_path / "out"), "--json")
    assert made["counts"] == {"days": 18, "rare": 8, "sums": 72}
    assert made["evaluation_counts"] == {"days": 6, "rare": 4, "sums": 8}
    config = load_config(tmp_path / "out" / "config.yaml")
    found, _ = invoke("describe", str(tmp_path / "out" / "config.yaml"), "--json")
    assert found["counts"] == made["counts"]
    assert found["evaluation_counts"] == made["evaluation_counts"]
    assert config.data.columns.id == "example_id"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.yaml",
        "evaluation.parquet",
        "train.parquet",
    ]
    invoke(*arguments, "--out", str(tmp_path / "again"), "--json")
    first, again = (pq.read_table(tmp_path / n / "train.parquet") for n in ("out", "again"))
    assert first.sort_by("example_id").equals(again.sort_by("example_id"))


@pytest.fixture
def twice(tmp_path: Path) -> tuple[str, str]:
    """The same rows without domains as one file with a duplicate, and as units in another order."""
    rows = [
        {"question": text.format(i), "answer": str(i)}
        for text, size in (
            ("How much is {} plus 1?", 60),
            ("Spell the word number {} backwards.", 20),
            ("Paint the {} walls of our house.", 6),
        )
        for i in range(size)
    ]
    lines = [json.dumps(row) + "\n" for row in rows]
    random.Random(1).shuffle(lines)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut"
    whole.write_text("".join([*lines, lines[0]]))
    cut.mkdir()
    for number in range(3):
        (cut / f"{number}.csv").write_text(
            "question,answer\n"
            + "".join(f"{row['question']},{row['answer']}\n" for row in rows[2 - number :: 3])
        )
    return str(whole), str(cut)


def test_domains_by_likelihood_are_of_one_size_and_the_same_in_any_order(
    twice: tuple[str, str],
) -> None:
    made = ["data.columns.domain=null", "data.domains={by: likelihood, bins: 3, model: bundled}"]
    found, cut = (invoke("domains", path, *made, "--json")[0] for path in twice)
    assert found == cut
    assert sorted(d["name"] for d in found["domains"]) == [f"likelihood-{n}" for n in (1, 2, 3)]
    sizes = [d["train"] + d["evaluation"] for d in found["domains"]]
    assert sum(sizes) == 86
    assert min(sizes) >= 25


def test_made_domains_are_the_same_in_any_order_and_from_the_file(
    twice: tuple[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("sklearn", reason="an environment made before scikit-learn came in")
    whole, cut = twice
    made = ["data.columns.domain=null", "data.domains={clusters: 3}"]
    out = str(tmp_path / "out.parquet")
    found, shown = invoke("domains", whole, *made, "--out", out, "--json")
    domains = found["domains"]
    assert [(d["train"], d["evaluation"]) for d in domains] == [(54, 6), (18, 2), (5, 1)]
    assert all(len(set(d["typical"])) == 3 for d in domains)
    assert "How much is" in domains[0]["typical"][0]
    assert f"{domains[2]['name']} (5)" in shown
    again = str(tmp_path / "again.jsonl")
    assert invoke("domains", cut, *made, "--out", again, "--json")[0] == found
    table = pq.read_table(out).sort_by("example_id")
    by_id = [json.loads(line) for line in Path(again).read_text().splitlines()]
    assert table.to_pylist() == sorted(by_id, key=lambda row: row["example_id"])

    columns = ["data.columns.id=example_id", "data.columns.split=split"]
    described, _ = invoke("describe", out, *columns, "--json")
    assert described["counts"] == {d["name"]: d["train"] for d in domains}
    assert described["evaluation_counts"] == {d["name"]: d["evaluation"] for d in domains}
    unmapped = str(tmp_path / "unmapped.parquet")  # ids are made as if there had been a column
    invoke("domains", out, "data.columns.split=split", "--out", unmapped, "--json")
    assert pq.read_table(unmapped).sort_by("example_id").equals(table)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["domains", "--out", "x.xlsx"], UserError, "the ending says the format"),
        (["make", "r53"], ConfigError, "no recipe 'r53'; known: r52, reuters"),
        (["make", "zipf", "--alpha", "2"], UserError, "needs --input and --alpha"),
        (["make", "r52", "--input", "x"], UserError, "are for zipf"),
        (["describe", "no/such.jsonl"], DataError, "no/such.jsonl does not exist"),
        (["describe", "no.yaml"], ConfigError, "no.yaml does not exist"),
    ],
)
def test_mistakes_are_reported(arguments: list[str], error: type[UserError], message: str) -> None:
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, ["data", *arguments], catch_exceptions=False)
