"""Near duplicates: a row is left out if an earlier row that stays is near it, and only then."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.config import DataConfig, NearDuplicatesConfig
from baldistill.data import near_duplicates as near
from baldistill.data.duplicates import join_repeated, repeated_keys
from baldistill.data.near_duplicates import NEIGHBOURS, Neighbours, nearest, resolve
from baldistill.data.rows import RawBlock
from baldistill.data.validate import check, place_of
from baldistill.run_folder.layout import STAGING
from baldistill.storage import Storage

WORDS = [f"w{letter}{n}" for letter in "abcdefgh" for n in "xyz"]


def stage(storage: Storage, names_and_rows: dict[str, list[dict[str, Any]]]) -> None:
    """Stage rows as the reading pass does; the number of a row goes on from part to part."""
    for folder in ("rows", "keys"):
        storage.fs.create_dir(storage.path(f"{STAGING}/{folder}"), recursive=True)
    start = 1
    for name, rows in names_and_rows.items():
        columns = {
            key: pa.array([row.get(key, "d") for row in rows])
            for key in ("question", "answer", "domain")
        }
        block = RawBlock(np.arange(start, start + len(rows)), columns)
        staged, bad = check(block, DataConfig(), "train", 0)
        assert not bad
        pq.write_table(staged, storage.path(f"{STAGING}/rows/{name}.parquet"))
        start += len(rows)


def find(storage: Storage, parts: list[str], rule: NearDuplicatesConfig) -> Neighbours:
    """Do what the passes do, without Ray."""
    nothing = join_repeated()
    staged = [near.stage_band_keys(storage, part, nothing, rule) for part in parts]
    repeated = join_repeated(repeated_keys(storage, [count.name for count in staged], None))
    wanted = np.unique(repeated.first)
    tables = []
    for part in parts:
        for other in parts:
            for texts, _ in near.gather(storage, other, wanted, rule, bands=False):
                tables += near.compare_part(storage, part, repeated, texts, rule)
    return resolve(*tables)


def similarity(one: str, other: str, n: int) -> float:
    sets = []
    for text in (one.split(), other.split()):
        grams = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
        sets.append(grams or {tuple(text)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize("threshold", [0.6, 0.8, 1.0])
def test_planted_copies_are_found_and_nothing_else(tmp_path: Path, threshold: float) -> None:
    rule = NearDuplicatesConfig(threshold=threshold)
    rng = random.Random(0)
    questions: list[str] = []
    for number in range(600):
        words = [rng.choice(WORDS) + str(rng.randrange(40)) for _ in range(rng.randrange(15, 40))]
        if number % 3 == 2:  # a copy of an earlier one, with some words of it changed
            words = rng.choice(questions).split()
            for _ in range(rng.randrange(3)):
                words[rng.randrange(len(words))] = "changed"
        questions.append(" ".join(words))
    rule = rule.model_copy(update={"same_numbers": False})
    rows = [{"question": question, "answer": "a"} for question in questions]
    storage = Storage.open(tmp_path)
    stage(storage, {"a": rows[:250], "b": rows[250:]})
    found = find(storage, ["a", "b"], rule)
    left_out = dict(zip(found.position.tolist(), found.partner.tolist(), strict=True))
    for row, partner in left_out.items():
        assert partner < row
        assert partner not in left_out
        assert similarity(questions[row - 1], questions[partner - 1], 3) >= threshold
    # what the definition wants, from all pairs
    expected: set[int] = set()
    for row in range(1, len(rows) + 1):
        stay = [other for other in range(1, row) if other not in expected]
        if any(similarity(questions[row - 1], questions[o - 1], 3) >= threshold for o in stay):
            expected.add(row)
    assert len(expected) > 50
    assert len(expected & left_out.keys()) >= 0.97 * len(expected)
    # one part or two: the same rows
    storage = Storage.open(tmp_path / "one")
    stage(storage, {"a": rows})
    again = find(storage, ["a"], rule)
    assert again.position.tolist() == found.position.tolist()
    assert again.partner.tolist() == found.partner.tolist()


def test_domains_and_numbers_keep_rows_apart(tmp_path: Path) -> None:
    text = "a train leaves the city at {} o'clock and another one follows it later that day"
    rows = [
        {"question": text.format(5)},
        {"question": text.format(6)},
        {"question": text.format(5) + "!"},
        {"question": text.format(5) + "!", "domain": "other"},
        {"question": text.format("5").upper()},
    ]
    storage = Storage.open(tmp_path)
    stage(storage, {"a": rows})
    found = find(storage, ["a"], NearDuplicatesConfig())
    assert found.position.tolist() == [3, 5]
    assert found.partner.tolist() == [1, 1]
    assert found.similarity[1] == 1.0
    rule = NearDuplicatesConfig(same_numbers=False, threshold=0.6)
    assert find(storage, ["a"], rule).position.tolist() == [2, 3, 5]


def test_turns_of_one_chat_are_no_near_duplicates_of_each_other(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    stage(storage, {})
    text = "a long story that a person tells and then asks about, again and again and again"
    columns = {
        "question": pa.array([text, f"{text}?", f"{text}!"]),
        "answer": pa.array(["x"] * 3),
        "domain": pa.array(["d"] * 3),
        "id": pa.array(["one", "one", "two"]),
    }
    block = RawBlock(np.array([1, 1, 2]), columns, turns=np.array([0, 1, 0]))
    staged, _ = check(block, DataConfig(), "train", 0)
    pq.write_table(staged, storage.path(f"{STAGING}/rows/a.parquet"))
    found = find(storage, ["a"], NearDuplicatesConfig())
    assert [place_of(p) for p in found.position.tolist()] == [(0, 2)]
    assert [place_of(p) for p in found.partner.tolist()] == [(0, 1)]


pairs = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda p: p[0] != p[1]), max_size=30
)


def table_of(pairs: list[tuple[int, int]]) -> pa.Table:
    later, earlier = [max(p) for p in pairs], [min(p) for p in pairs]
    return pa.table([later, earlier, [0.9] * len(pairs)], schema=NEIGHBOURS)


@given(pairs, st.integers(0, 30))
def test_a_row_is_left_out_if_an_earlier_one_that_stays_is_near(
    pairs: list[tuple[int, int]], cut: int
) -> None:
    found = resolve(table_of(pairs[cut:]), table_of(pairs[:cut]))
    expected: dict[int, int] = {}
    for row in range(13):
        near = sorted(min(p) for p in pairs if max(p) == row and min(p) not in expected)
        if near:
            expected[row] = near[0]
    assert dict(zip(found.position.tolist(), found.partner.tolist(), strict=True)) == expected
    partner, _ = found.of_rows(np.arange(13))
    assert partner.tolist() == [expected.get(row, -1) for row in range(13)]


def test_the_most_similar_row_is_named() -> None:
    table = pa.table([[3, 3, 5], [8, 9, 7], [0.8, 0.9, 1.0]], schema=NEIGHBOURS)
    found = nearest(table, table)
    assert (found.position.tolist(), found.partner.tolist()) == ([3, 5], [9, 7])
    assert resolve().of_rows(np.arange(2))[0].tolist() == [-1, -1]
