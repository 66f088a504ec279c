"""A recipe through the real `datasets` library, from copies of the sources on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from baldistill.config.loading import load_config
from baldistill.core.longtail import sizes_by_share, zipf_sizes
from baldistill.data.recipes import competition_math, multiple_choice
from baldistill.data.recipes.catalogue import RECIPES
from baldistill.data.recipes.make import make_recipe
from baldistill.data.recipes.source import Source
from baldistill.errors import DataError
from baldistill.yaml12 import write_yaml

pytest.importorskip("datasets")


SUBJECTS = ["Algebra", "Counting & Probability", "Geometry", "Intermediate Algebra"]
SUBJECTS += ["Number Theory", "Prealgebra", "Precalculus"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def numbered(row: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """The row so often, with different questions."""
    for number in range(count):
        text = json.dumps(row)
        for key in ("question", "goal", "sentence", "question_stem", "problem", "Question"):
            if isinstance(row.get(key), str):
                new = {**row, key: f"{row[key]} ({number})"}
                yield new
                break
        else:
            yield json.loads(text.replace("?", f" ({number})?"))


class Mirror:
    """Copies of data sets, as `owner/name`, in the layout that the hub has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.configs: dict[str, dict[str, dict[str, str]]] = {}

    def add(self, source: Source, split: str, rows: list[dict[str, Any]]) -> None:
        folder = self.root / source.hub
        if source.files is not None:
            path = folder / source.files.format(split=split).replace("*", "0000")
        else:
            config = source.config or "default"
            path = folder / config / f"{split}-00000-of-00001.parquet"
            files = self.configs.setdefault(source.hub, {}).setdefault(config, {})
            files[split] = str(path.relative_to(folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        if source.columns is not None:
            path.write_text("".join("\t".join(row.values()) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)

    def write_cards(self) -> None:
        for hub, configs in self.configs.items():
            listed = [
                {
                    "config_name": config,
                    "data_files": [{"split": s, "path": p} for s, p in files.items()],
                }
                for config, files in configs.items()
            ]
            card = f"---\n{write_yaml({'configs': listed})}---\n"
            (self.root / hub / "README.md").write_text(card)


def test_multiple_choice_is_long_tailed(tmp_path: Path, samples: ModuleType) -> None:
    recipe, mirror = RECIPES["multiple-choice-qa"], Mirror(tmp_path / "hub")
    names = [source.rows.__name__ for source in recipe.sources]
    assert sorted(names) == sorted(samples.MULTIPLE_CHOICE)
    available = {name: 60 - 3 * rank for rank, name in enumerate(names)}
    for source, name in zip(recipe.sources, names, strict=True):
        row = samples.MULTIPLE_CHOICE[name]
        mirror.add(source, source.train, [*numbered(row, available[name])])
        mirror.add(source, source.evaluation, [*numbered(row, 4)])
    mirror.write_cards()
    by_default = make_recipe(recipe, tmp_path / "shares", mirror=str(mirror.root))
    assert by_default.counts == sizes_by_share(available, multiple_choice.SHARES)
    assert max(by_default.counts, key=by_default.counts.__getitem__) == "race"
    made = make_recipe(recipe, tmp_path / "out", mirror=str(mirror.root), alpha=2.0)
    assert made.counts == zipf_sizes(available, 2.0)
    assert made.counts["race"] == 60
    assert made.evaluation_counts == dict.fromkeys(sorted(names), 4)
    train = pq.read_table(tmp_path / "out" / "train.parquet")
    assert len(set(train["id"].to_pylist())) == len(train) == sum(made.counts.values())
    config = load_config(made.config)
    assert config.data.task == "multiple_choice"
    assert config.data.columns.choices == "choices"
    assert config.budget.total == 5000
    again = make_recipe(recipe, tmp_path / "again", mirror=str(mirror.root), alpha=2.0)
    assert again.counts == made.counts
    assert pq.read_table(tmp_path / "again" / "train.parquet").equals(train)
    other = make_recipe(recipe, tmp_path / "other", mirror=str(mirror.root), seed=1, alpha=2.0)
    rows = pq.read_table(tmp_path / "other" / "train.parquet")
    assert other.counts == made.counts
    assert set(rows["id"].to_pylist()) != set(train["id"].to_pylist())


def test_abstractive_and_math(tmp_path: Path, samples: ModuleType) -> None:
    mirror = Mirror(tmp_path / "hub")
    for source in RECIPES["abstractive-qa"].sources:
        row = samples.ABSTRACTIVE[source.rows.__name__]
        for split in (source.train, source.evaluation):
            mirror.add(source, split, [*numbered(row, 3)])
    for source, subject in zip(RECIPES["math"].sources, SUBJECTS, strict=True):
        row = {**samples.MATH, "type": subject}
        for split in (source.train, source.evaluation):
            mirror.add(source, split, [*numbered(row, 3)])
    mirror.write_cards()
    made = make_recipe(RECIPES["abstractive-qa"], tmp_path / "qa", mirror=str(mirror.root))
    sets = ["drop", "narrativeqa", "natural_questions", "qaconv", "tweetqa"]
    assert made.counts == made.evaluation_counts == dict.fromkeys(sets, 3)
    asked = pq.read_table(tmp_path / "qa" / "train.parquet").to_pylist()
    (first,) = [row for row in asked if row["id"] == "qaconv-train-000001"]
    assert first["question"] == 'ann: i am here \n bob: tap in\n\nwho said "tap in" (0)?'
    few = replace(RECIPES["abstractive-qa"], drawn=8)
    drawn = make_recipe(few, tmp_path / "few", mirror=str(mirror.root))
    assert sum(drawn.counts.values()) == sum(drawn.evaluation_counts.values()) == 8
    assert len(pq.read_table(tmp_path / "few" / "train.parquet")) == 8
    assert load_config(made.config).data.task == "qa"
    made = make_recipe(RECIPES["math"], tmp_path / "math", mirror=str(mirror.root))
    assert made.counts == dict.fromkeys(SUBJECTS, 3)
    few = replace(RECIPES["math"], sizes=dict.fromkeys(SUBJECTS, 2) | {"Algebra": 9})
    cut = make_recipe(few, tmp_path / "cut", mirror=str(mirror.root))
    assert cut.counts == dict.fromkeys(SUBJECTS, 2) | {"Algebra": 3}
    assert sorted(competition_math.SIZES) == SUBJECTS
    assert sum(competition_math.SIZES.values()) == 4125


def test_news_keep_the_topics_of_both_parts(tmp_path: Path, samples: ModuleType) -> None:
    recipe = RECIPES["r52"]
    folder = tmp_path / "hub" / recipe.sources[0].hub
    folder.mkdir(parents=True)
    lines = [
        '{file}\t{label_id}\t{label}\t"{text}"'.format(**row)
        for row in ({**row, "text": row["text"].replace('"', "")} for row in samples.R52)
    ]
    (folder / "r52-raw.txt").write_text("\n".join(lines) + "\n")
    made = make_recipe(recipe, tmp_path / "out", mirror=str(tmp_path / "hub"))
    assert made.counts == made.evaluation_counts == {"acq": 1, "earn": 1}
    assert made.left_out == ["wpi"]
    rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
    assert {row["question"] for row in rows} == {"BIDDER GETS 51 PCT", "CHAMPION <CH> SPLITS"}


def test_reuters_topics_may_be_numbers_with_names(tmp_path: Path, samples: ModuleType) -> None:
    import datasets

    source = RECIPES["reuters"].sources[0]
    names = ["earn", "grain", "interest", "money-fx"]
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "title": datasets.Value("string"),
            "lewis_split": datasets.Value("string"),
            "topics": datasets.List(datasets.ClassLabel(names=names)),
        }
    )
    folder = tmp_path / "hub" / source.hub
    for split, lewis in (("train", "TRAIN"), ("test", "TEST")):
        rows = [{**row, "lewis_split": lewis} for row in samples.REUTERS[:2]]
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(rows, features=features).to_parquet(path)
    made = make_recipe(RECIPES["reuters"], tmp_path / "out", mirror=str(tmp_path / "hub"))
    assert made.counts == made.evaluation_counts == {"grain": 1, "interest": 1, "money-fx": 1}


def test_a_missing_or_changed_source_is_reported(tmp_path: Path) -> None:
    recipe, mirror = RECIPES["math"], Mirror(tmp_path / "hub")
    with pytest.raises(DataError, match="has no folder EleutherAI/hendrycks_math"):
        make_recipe(recipe, tmp_path / "out", mirror=str(mirror.root))
    for source in recipe.sources:
        for split in ("train", "test"):
            mirror.add(source, split, [{"question": "1 + 1?"}])
    mirror.write_cards()
    with pytest.raises(DataError, match=r"row 0 of train is not of the known form.*question"):
        make_recipe(recipe, tmp_path / "out", mirror=str(mirror.root))
    assert not list((tmp_path / "out").glob("*"))


def test_an_offline_hub_is_reported(tmp_path: Path) -> None:
    # conftest sets HF_HUB_OFFLINE: the hub is not asked
    with pytest.raises(DataError, match=r"cannot read EleutherAI/hendrycks_math.*(?s:.*)--mirror"):
        make_recipe(RECIPES["math"], tmp_path / "out")
