"""The paper's configs fit the recipes that make their corpora."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.config.loading import load_config
from baldistill.data.recipes.catalogue import RECIPES
from baldistill.methods import METHODS

FOLDER = Path(__file__).resolve().parents[4] / "examples" / "paper"


def test_there_is_one_for_each_corpus() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_it_reads_what_the_recipe_writes(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    config, recipe = load_config(path), RECIPES[name]
    small, large = recipe.budgets
    assert (config.name, config.budget.total) == (name, small)
    assert f"budget.total={large}" in path.read_text("utf-8")
    assert config.data.task == recipe.task
    assert config.data.train == f"data/{name}/train.parquet"
    assert (config.data.columns.choices is None) == (recipe.task != "multiple_choice")
    assert config.student.model == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert config.student.lora is not None
    assert f"data make {name} --out data/{name}" in path.read_text("utf-8")
    for method in METHODS:
        load_config(path, [], method)
