"""Rows and tables: a table has an optional column only if one of its rows has a value."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from baldistill.method.earlier import joined
from baldistill.records import ANNOTATED, EXAMPLES, OPTIONAL, AnnotatedExample, Example, as_rows_of

alternatives = st.one_of(st.none(), st.lists(st.text(max_size=3), min_size=1, max_size=3))
examples = st.builds(
    Example, *[st.text(max_size=3)] * 4, choices=st.none(), alternatives=alternatives
)


@given(st.lists(examples, max_size=5))
def test_rows_come_back_from_their_table(rows: list[Example]) -> None:
    table = Example.to_table(rows)
    assert Example.from_table(table) == rows
    assert table.schema.names[: len(EXAMPLES)] == EXAMPLES.names
    has_any = any(row.alternatives is not None for row in rows)
    assert table.schema.equals(EXAMPLES) != has_any
    assert as_rows_of(EXAMPLES, table.append_column("more", [[1] * len(rows)])).equals(table)


marked = st.tuples(examples, st.sampled_from([None, True]))


@given(st.lists(st.lists(marked, max_size=3), min_size=1, max_size=4))
def test_tables_with_and_without_an_optional_column_are_joined(
    parts: list[list[tuple[Example, bool | None]]],
) -> None:
    def annotated(row: Example, repaired: bool | None) -> AnnotatedExample:
        known: dict[str, Any] = {name: getattr(row, name) for name in EXAMPLES.names}
        further = {name: getattr(row, name) for name in OPTIONAL.names}
        work = {"source": "real", "rationale": None, "verified": None, "attempts": 0}
        return AnnotatedExample(**known, **further, **work, request_id=None, repaired=repaired)

    rows = [[annotated(*row) for row in part] for part in parts]
    tables = [AnnotatedExample.to_table(part) for part in rows]
    for part, one in zip(rows, tables, strict=True):
        assert ("repaired" in one.column_names) == any(row.repaired for row in part)
    table = joined([ANNOTATED.empty_table(), *tables])
    assert AnnotatedExample.from_table(table) == [row for part in rows for row in part]
    assert [row.question for row in Example.from_table(table)] == [
        row.question for part in rows for row in part
    ]
