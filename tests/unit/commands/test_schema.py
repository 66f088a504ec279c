"""The schema of configs takes what the models take, and names every key."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from baldistill.cli import app
from baldistill.commands.schema import config_schema, config_sections, kind_of
from baldistill.yaml12 import read_yaml

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("**/*.yaml"))
CONFIGS = [path for path in EXAMPLES if path.parent.name != "prompts"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_takes_the_examples(path: Path) -> None:
    values = read_yaml(path.read_text("utf-8"))
    checker = jsonschema.Draft202012Validator(config_schema())
    assert [error.message for error in checker.iter_errors(values)] == []


def test_it_refuses_a_key_that_there_is_not() -> None:
    with pytest.raises(jsonschema.ValidationError, match="buget"):
        jsonschema.validate({"buget": {"total": 3}}, config_schema())


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    app(["schema"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == config_schema()


def test_every_section_is_described_in_words() -> None:
    sections = {section.name: section for section in config_sections()}
    known = set(sections)
    for section in sections.values():
        assert section.name == "Config" or section.text
        for key in section.keys:
            assert "anything" not in key.kind, (section.name, key)
            assert set(key.kind.split("`")[1::2]) <= known
    keys = {key.name: key for key in sections["BudgetConfig"].keys}
    assert (keys["total"].kind, keys["total"].default) == ("whole number ≥ 0", 1200)
    assert keys["cost"].kind == "number > 0.0 or null"
    assert kind_of({"type": "array", "items": {"type": "string"}}) == "list of text"
