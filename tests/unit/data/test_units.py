"""Files cut into segments and put together into units."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from baldistill.data.sources import find_files
from baldistill.data.units import (
    Segment,
    group_segments,
    number_rows,
    plan_segments,
    segments_to_count,
)


def test_jsonl_is_cut_by_bytes_and_numbered(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"x" * 250)
    (tmp_path / "b.jsonl").write_bytes(b"x" * 140)
    (tmp_path / "c.csv").write_bytes(b"x" * 1000)
    (tmp_path / "d.jsonl").write_bytes(b"x" * 160)
    segments = plan_segments(find_files([str(tmp_path)], "train", "auto"), unit_bytes=100)
    assert [(s.file, s.start, s.stop) for s in segments] == [
        (0, 0, 100),
        (0, 100, 200),
        (0, 200, 250),
        (1, 0, None),
        (2, 0, None),
        (3, 0, 100),
        (3, 100, 160),
    ]
    todo = segments_to_count(segments)
    assert todo == [segments[0], segments[1], segments[5]]
    numbered = number_rows(segments, dict(zip(todo, (7, 0, 3), strict=True)))
    assert [segment.first_row for segment in numbered] == [1, 8, 8, 1, 1, 1, 4]


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": range(95)}), path, row_group_size=10)
    files = find_files([str(path)], "train", "auto")
    size = pq.ParquetFile(path).metadata.row_group(0).total_byte_size
    segments = plan_segments(files, unit_bytes=3 * size)
    assert [(s.start, s.stop, s.first_row) for s in segments] == [
        (0, 3, 1),
        (3, 6, 31),
        (6, 9, 61),
        (9, 10, 91),
    ]
    assert segments_to_count(segments) == []
    assert number_rows(segments, {}) == segments
    assert [(s.start, s.stop) for s in plan_segments(files, 1)] == [(i, i + 1) for i in range(10)]


def test_small_neighbours_are_one_unit() -> None:
    segments = [Segment(file, size) for file, size in enumerate((10, 20, 90, 5, 200, 1, 1))]
    units = group_segments(segments, unit_bytes=100)
    assert [[segment.file for segment in unit] for unit in units] == [[0, 1], [2, 3], [4], [5, 6]]
    assert group_segments([], 100) == []
    assert max(len(unit) for unit in group_segments([Segment(i, 0) for i in range(1000)])) <= 256
