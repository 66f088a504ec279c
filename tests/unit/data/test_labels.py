"""Which labels a classification domain's answers lie among."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from baldistill.config.loading import validate
from baldistill.core.label_sets import MAX_LABELS
from baldistill.data.labels import label_sets
from baldistill.records import EXAMPLES, OPTIONAL, with_optional
from baldistill.storage import Storage


def corpus(tmp_path: Path, rows: list[tuple[str, str]]) -> Storage:
    """Rows of (domain, answer), in two files."""
    storage = Storage.open(tmp_path)
    for number, part in enumerate((rows[::2], rows[1::2])):
        table = pa.Table.from_pylist(
            [
                {"example_id": str(i), "domain": domain, "question": "q", "answer": answer}
                for i, (domain, answer) in enumerate(part)
            ],
            EXAMPLES,
        )
        storage.write_table(f"corpus/train/{number}.parquet", table)
    return storage


def sets(tmp_path: Path, rows: list[tuple[str, str]], **data: object) -> dict[str, tuple[str, ...]]:
    config = validate({"data": {"task": "classification", **data}})
    counts = Counter(domain for domain, _ in rows)
    return dict(label_sets(config, counts, corpus(tmp_path, rows)).among)


def test_domains_that_are_labels_share_them(tmp_path: Path) -> None:
    rows = [(label, label) for label in ("earn", "acq", "ship", "earn")]
    assert sets(tmp_path, rows) == dict.fromkeys(("acq", "earn", "ship"), ("acq", "earn", "ship"))


def test_a_domain_with_several_answers_has_its_own(tmp_path: Path) -> None:
    rows = [("coins", "yes"), ("coins", "No"), ("coins", "no"), ("earn", "earn"), ("acq", "acq")]
    assert sets(tmp_path, rows) == {
        "coins": ("No", "yes"),
        "earn": ("acq", "earn"),
        "acq": ("acq", "earn"),
    }


def test_other_tasks_and_long_lists_have_none(tmp_path: Path) -> None:
    rows = [("sums", str(number)) for number in range(9)]
    rows += [("words", f"w{number}") for number in range(MAX_LABELS + 1)]
    rows += [("flags", f"f{number}") for number in range(MAX_LABELS)]
    found = sets(tmp_path, rows, domain_tasks={"sums": "math"})
    assert list(found) == ["flags"]
    assert len(found["flags"]) == MAX_LABELS


def test_one_label_alone_is_no_choice(tmp_path: Path) -> None:
    assert sets(tmp_path, [("earn", "earn")]) == {}


def test_further_answers_are_labels_but_do_not_divide_a_domain(tmp_path: Path) -> None:
    def rows(*some: tuple[str, str, list[str] | None]) -> list[dict[str, object]]:
        names = ("domain", "answer", "alternatives")
        given = {"example_id": "1", "question": "q"}
        return [given | dict(zip(names, one, strict=True)) for one in some]

    storage = Storage.open(tmp_path)
    schema = with_optional(EXAMPLES, OPTIONAL.names)
    table = rows(
        ("earn", "earn", ["acq"]),
        ("ship", "ship", ["grain"]),
        ("true", "yes", ["maybe"]),
        ("true", "no", None),
    )
    storage.write_table("corpus/train/0.parquet", pa.Table.from_pylist(table, schema))
    config = validate({"data": {"task": "classification"}})
    found = label_sets(config, dict.fromkeys(("earn", "ship", "true"), 1), storage)
    assert found.own == {"earn": "earn", "ship": "ship"}
    assert found.among["earn"] == ("earn", "ship")
    assert found.among["true"] == ("maybe", "no", "yes")


def test_a_corpus_without_gold_answers_shows_no_labels(tmp_path: Path) -> None:
    config = validate({"data": {"task": "classification"}})
    storage = corpus(tmp_path, [("a", ""), ("b", ""), ("a", "")])
    labels = label_sets(config, {"a": 2, "b": 1}, storage)
    assert (labels.among, labels.own) == ({}, {})
