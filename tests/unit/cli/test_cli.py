"""The same option means the same in every command, and mistakes exit with status 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import mistake
from typer.main import get_command
from typer.testing import CliRunner

from baldistill.cli import app
from baldistill.cli.options import config_of, parse_seeds
from baldistill.config.loading import dump_config, load_config
from baldistill.errors import ConfigError

STARTS_RAY = (
    "ask",
    "doctor",
    "evaluate",
    "preview",
    *("run", "plan", "compare", "sweep"),
    *("data describe", "data validate", "data domains", "data make"),
    "judge check",
)

SPACE = "{{search: grid, parameters: {{student.lora.rank: {{kind: choice, values: [4, {rank}]}}}}}}"


def commands() -> dict[str, dict[str, Any]]:
    """Options of each command, by their first name."""
    group: Any = get_command(app)
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if below := getattr(command, "commands", None):  # a group, such as `data`
            found |= {f"{name} {sub}": one for sub, one in below.items()}
        else:
            found[name] = command
    return {
        name: {option.opts[0]: option for option in command.params}
        for name, command in found.items()
    }


@pytest.mark.parametrize("option", ["--json", "--address", "--verbose", "--method", "--parallel"])
def test_a_shared_option_is_the_same_in_every_command(option: str) -> None:
    same = [options[option] for options in commands().values() if option in options]
    assert len(same) > 1
    assert len({(tuple(o.opts), o.help, o.default) for o in same}) == 1


def test_every_command_has_the_options_that_make_sense_for_it() -> None:
    for name, options in commands().items():
        assert "--json" in options, name
        assert ("--address" in options) == ("--verbose" in options) == (name in STARTS_RAY), name
        has_folder = name in ("run", "plan", "compare", "sweep", "preview", "evaluate", "doctor")
        has_folder |= name in ("judge check", "data domains")
        assert ("--run-dir" in options) == has_folder, name


@pytest.mark.parametrize("command", ["compare", "sweep"])
def test_the_folder_of_many_runs_keeps_its_old_name_too(command: str) -> None:
    option = commands()[command]["--run-dir"]
    assert option.name == "run_dir"
    assert option.opts == ["--run-dir", "--out"]


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """The folder of a sweep, as it is before its first trial."""
    folder = tmp_path / "swept"
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(load_config(None, ["stages=3"])))
    (folder / "space.yaml").write_text(SPACE.format(rank=8))
    return folder


@pytest.mark.parametrize("option", ["--run-dir", "--out", "--resume"])
@pytest.mark.parametrize("seeds", ["--seeds", "--validate-seeds"])
def test_the_folder_of_a_sweep_names_its_config_and_space(
    swept: Path, capsys: pytest.CaptureFixture[str], option: str, seeds: str
) -> None:
    said = mistake(capsys, "sweep", option, str(swept), seeds, "0", "--parallel", "1")
    assert "seed 0 was used by the sweep" in said


def test_a_folder_without_a_sweep_needs_a_space(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.yaml", "space.yaml"):
        said = mistake(capsys, "sweep", "--run-dir", str(swept), "seed=3")
        assert "--space FILE says what varies" in said, "a config of one's own is not set aside"
        (swept / name).unlink()
    assert "--space FILE says what varies" in mistake(capsys, "sweep", "--run-dir", str(swept))


def test_a_folder_holds_the_sweep_of_one_space(
    swept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(SPACE.format(rank=16))
    said = mistake(capsys, "sweep", "stages=3", "--space", str(other), "--run-dir", str(swept))
    assert f"go on with that one by --run-dir {swept} alone" in " ".join(said.split())


def test_code_that_a_sweeps_folder_names_is_not_run_for_somebody_else(
    swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = swept / "config.yaml"
    file.write_text(dump_config(load_config(None, ["budget.policy.kind='theirs:Policy'"])))
    file.chmod(0o666)
    said = " ".join(mistake(capsys, "sweep", "--run-dir", str(swept)).split())
    assert "its budget.policy runs the code theirs:Policy" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "--seeds", "0,b"], "--seeds '0,b' is not a list of whole numbers"),
        (["compare", "--methods", "bald"], "bald"),
        (["compare", "--methods", "bald,balanced"], "balanced: there is no method 'balanced'"),
        (["compare", "--methods", "baldistill-n", "--reference", "x"], "--reference x is none of"),
        (["sweep", "--validate-seeds", "1;2"], "--validate-seeds '1;2' is not a list of whole"),
        (["sweep"], "--space FILE says what varies"),
        (["sweep", "--resume", "a", "--run-dir", "b"], "leave out CONFIG"),
        (["report", "nowhere"], "nowhere"),
        (["report", "\x1b[31mred\nerror: forged"], "\\x1b[31mred"),
        (["report", "a\udcff"], "'a\\udcff' is not valid UTF-8"),  # how Python reads bytes
        (["plan", 'data.train="\\ud800"'], "half of a surrogate pair"),
    ],
)
def test_a_mistake_is_named_without_a_traceback(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in mistake(capsys, *arguments)


def test_seeds_may_have_spaces() -> None:
    assert parse_seeds("--seeds", "0, 12,3") == (0, 12, 3)
    with pytest.raises(ConfigError, match="0,1,2"):
        parse_seeds("--seeds", "")


def test_a_run_folder_alone_names_its_config(tmp_path: Path) -> None:
    config = load_config(None, ["seed=7"])
    assert config_of(None, str(tmp_path), None) == load_config()
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert config_of([], str(tmp_path), None) == config
    assert config_of(["seed=8"], str(tmp_path), None) == load_config(None, ["seed=8"])


def test_the_schema_is_found_under_both_names() -> None:
    printed = [
        CliRunner().invoke(app, [*command, "--json"])
        for command in (["schema"], ["config", "schema"])
    ]
    assert printed[0].stdout == printed[1].stdout
    assert "budget" in json.loads(printed[1].stdout)["properties"]
