"""Questions that must not be trained on: which files and rows they come from, and the errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baldistill.config import Config, DataConfig, DecontaminateConfig
from baldistill.config.loading import load_config, validate
from baldistill.data.contamination import check_references, find_references, questions_of_file
from baldistill.data.validate import place_of
from baldistill.errors import ConfigError, DataError

EIGHT = "one two three four five six seven eight"


def config(**rule: Any) -> DataConfig:
    return DataConfig(decontaminate=DecontaminateConfig(**rule))


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("false", None),
        ("true", DecontaminateConfig()),
        ("a.jsonl", DecontaminateConfig(files=("a.jsonl",))),
        ("[a.jsonl, b.csv]", DecontaminateConfig(files=("a.jsonl", "b.csv"))),
        ("{files: a.jsonl, ngram: 13}", DecontaminateConfig(files=("a.jsonl",), ngram=13)),
    ],
)
def test_files_may_stand_for_a_section(written: str, rule: DecontaminateConfig | None) -> None:
    loaded = load_config(None, [f"data.decontaminate={written}"])
    assert loaded.data.decontaminate == rule


def test_without_the_options_a_config_is_what_it_was() -> None:
    dumped = Config().model_dump(mode="json")["data"]
    assert not {"near_duplicates", "decontaminate"} & dumped.keys()
    assert load_config(None, ["data.near_duplicates=false"]) == load_config()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"near_duplicates": {"threshold": 0.3}}, r"data.near_duplicates.threshold"),
        ({"near_duplicates": {"threshold": 80}}, r"data.near_duplicates.threshold"),
        ({"near_duplicates": "yes"}, r"data.near_duplicates.*true, false or a section"),
        ({"decontaminate": {"ngram": 1}}, r"data.decontaminate.ngram.*4"),
        ({"decontaminate": {"threshold": 0}}, r"data.decontaminate.threshold"),
        ({"decontaminate": {"file": "a"}}, r"data.decontaminate.file.*did you mean.*files"),
        ({"decontaminate": ["s3://k:secret@b/a.jsonl"]}, r"data.decontaminate.*credentials"),
        (
            {"decontaminate": ["a.jsonl"], "columns": {"messages": "chat"}},
            r"data.decontaminate.column=question",
        ),
    ],
)
def test_likely_mistakes_are_named(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}") as caught:
        validate({"data": data}, "my.yaml")
    assert "secret" not in str(caught.value)


def test_questions_of_a_file_have_its_rows_and_what_is_no_text_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "asked.jsonl"
    rows = [{"q": EIGHT}, {"q": None}, {"q": f"so {EIGHT}"}, {"q": " "}, {"q": ["a"]}, {"q": "b"}]
    path.write_text("\n".join([*map(json.dumps, rows), "{broken", ""]))
    data = config(files=str(path), column="q")
    (file,) = find_references(data, 3)
    assert data.decontaminate is not None
    found = list(questions_of_file(file, "q", data.decontaminate))
    places = [place_of(p) for texts, _ in found for p in texts.position.tolist()]
    assert places == [(3, 1), (3, 3), (3, 6)]
    assert [size for texts, _ in found for size in texts.ngrams.sizes] == [1, 2, 0]
    assert sum(bad for _, bad in found) == 4


def test_a_file_that_is_missing_or_lacks_the_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.decontaminate\.files: .*none\.csv does not exist"):
        find_references(config(files=str(tmp_path / "none.csv")), 0)
    path = tmp_path / "a.csv"
    path.write_text("prompt,answer\na,b\n")
    with pytest.raises(DataError, match=r"no column `question`.*Set data\.decontaminate\.column="):
        find_references(config(files=str(path)), 0)
    assert find_references(DataConfig(), 0) == []


def test_short_questions_are_a_warning_or_an_error() -> None:
    rule = DecontaminateConfig()
    assert check_references(np.array([1, 4]), [], rule) == []
    assert check_references(np.array([1, 0, 0]), ["a.csv"], rule) == [
        "2 of 3 questions of the evaluation set, a.csv have fewer than 8 words "
        "(data.decontaminate.ngram): rows that hold them are not found"
    ]
    with pytest.raises(DataError, match=r"no question of the evaluation set has 8 words"):
        check_references(np.array([0, 0]), [], rule)
