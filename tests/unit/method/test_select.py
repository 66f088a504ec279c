"""Candidates: an exact uniform sample in one streaming pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from baldistill.config.loading import load_config
from baldistill.core.selection import hash_score, partial_top_k
from baldistill.data.corpus import sample
from baldistill.method.plan import StagePlan
from baldistill.method.select import Scored, select
from baldistill.records import EXAMPLES, SCORED, seed_for
from baldistill.storage import Storage

pytestmark = pytest.mark.ray


def corpus(num_rows: int) -> pa.Table:
    rng = np.random.default_rng(0)
    domain = rng.choice(["a", "b", "c"], num_rows, p=[0.9, 0.09, 0.01])
    ids = [f"id-{number:06d}" for number in range(num_rows)]
    columns = [ids, domain.tolist(), [f"q {i}" for i in ids], ["x"] * num_rows, [None] * num_rows]
    return pa.table(columns, schema=EXAMPLES)


def stored(folder: Path, table: pa.Table, num_files: int = 1) -> Storage:
    storage = Storage.open(folder)
    size = -(-len(table) // num_files)
    for number in range(num_files):
        part = table.slice(number * size, size)
        storage.write_table(f"corpus/train/{number}.parquet", part)
    return storage


@pytest.mark.parametrize("num_files", [1, 7])
def test_the_sample_is_the_exact_top_k_of_the_hash(
    ray_session: None, tmp_path: Path, num_files: int
) -> None:
    table = corpus(20_000)
    tried = set(table["example_id"].to_pylist()[::10])
    left = table.filter(pa.array([i not in tried for i in table["example_id"].to_pylist()]))
    counts = left["domain"].to_pandas().value_counts().to_dict()
    wanted = {"a": 50, "b": 300, "c": counts["c"]}
    found = sample(
        stored(tmp_path, table, num_files),
        wanted,
        counts,
        tried=tried,
        seed=5,
    )
    scored = left.append_column("score", pa.array(hash_score(5, left["example_id"])))
    expected = partial_top_k(scored, "score", wanted)
    assert found["example_id"].to_pylist() == expected["example_id"].to_pylist()


def test_a_wrong_count_of_unused_rows_costs_a_second_pass_and_no_row(
    ray_session: None, tmp_path: Path
) -> None:
    table = corpus(5_000)
    counts = table["domain"].to_pandas().value_counts().to_dict()
    overstated = {name: 100 * count for name, count in counts.items()}
    found = sample(stored(tmp_path, table), {"a": 20}, overstated, tried=set(), seed=1)
    assert len(found) == 20


def test_nothing_wanted_gives_an_empty_table(ray_session: None, tmp_path: Path) -> None:
    found = sample(stored(tmp_path, corpus(100)), {}, {}, tried=set(), seed=1)
    assert len(found) == 0
    assert found.column_names == [*EXAMPLES.names, "score"]


def test_the_hash_of_one_purpose_knows_nothing_of_anothers() -> None:
    """Rows that the evaluation set left are a corpus like any other when candidates are drawn."""
    ids = np.array([f"id-{number}" for number in range(50_000)])
    left = ids[hash_score(3, ids) < 0.98]
    share = (hash_score(seed_for(3, "candidates", 1), left) >= 0.98).mean()
    assert share == pytest.approx(0.02, abs=0.004)
    assert not (hash_score(3, left) >= 0.98).any()


def test_candidates_without_a_score_are_counted_in_a_line() -> None:
    line = Scored(candidates=4000, scored=3000, undefined=12).describe_undefined("ifd")
    assert line.startswith("12 of 3,000 candidates have no ifd ")


def test_scores_of_earlier_versions_are_ranked_as_they_are(tmp_path: Path) -> None:
    """They were written without the column `correct`."""
    table = corpus(6).append_column(SCORED.field("score"), pa.array([0.1, 0.5, 0.3, 0.2, 0.6, 0.4]))
    missing = [field for field in SCORED if field.name not in {*table.column_names, "correct"}]
    for field in missing:
        table = table.append_column(field, pa.nulls(6, field.type))
    table = table.set_column(1, EXAMPLES.field("domain"), pa.array(["a"] * 6))
    storage = Storage.open(tmp_path)
    storage.write_table("stages/02/scored/0.parquet", table)
    plan = StagePlan(2, 2, {"a": 2}, {"a": 6}, {"a": 2}, {})
    select(SimpleNamespace(storage=storage, config=load_config()), plan)  # type: ignore[arg-type]
    ranked = storage.read_table("stages/02/selected.parquet")
    assert ranked["score"].to_pylist() == [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert ranked["correct"].null_count == 6
