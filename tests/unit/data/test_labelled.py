"""Answers that a person has labelled are read with their lines, or the line is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.data.labelled import LabelledAnswer, read_labelled
from baldistill.errors import DataError


def test_labels_are_words_booleans_and_scores(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text(
        '{"question": "Q", "response": "A", "label": true, "reference": "R"}\n\n'
        '{"question": "Q", "response": "A", "label": "Reject"}\n'
        '{"question": "Q", "response": "A", "label": 4}\n'
        '{"question": "Q", "response": "A", "label": 3}\n'
    )
    rows = read_labelled(path, (1, 5), 4)
    assert rows[0] == LabelledAnswer("Q", "A", True, "R")
    assert [row.accepted for row in rows] == [True, False, True, False]
    assert {row.reference for row in rows[1:]} == {""}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nothing", "labelled.jsonl:2: no JSON"),
        ('{"question": "Q", "label": true}', "labelled.jsonl:2: no response: each line"),
        ("[1]", "no question and no response and no label"),
        ('{"question": "Q", "response": "A", "label": 9}', "nor a score from 1 to 5"),
        ('{"question": "Q", "response": "A", "label": "maybe"}', "'maybe' is neither"),
    ],
)
def test_a_line_that_is_none_is_told(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text(f'{{"question": "Q", "response": "A", "label": true}}\n{line}\n')
    with pytest.raises(DataError, match=words):
        read_labelled(path, (1, 5), 4)


def test_a_file_that_is_not_there_or_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_labelled(tmp_path / "no.jsonl", (1, 5), 4)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="has no rows"):
        read_labelled(tmp_path / "empty.jsonl", (1, 5), 4)
