"""The config that a folder brings along decides where our key goes; so it is ours, or is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from runs import mistake

from baldistill.cli import options
from baldistill.config.loading import dump_config, load_config
from baldistill.errors import ConfigError
from baldistill.run_folder.trust import check_code_is_safe
from baldistill.storage import Storage

pytestmark = pytest.mark.skipif(os.name != "posix", reason="users and modes of POSIX")
is_root = os.name == "posix" and os.geteuid() == 0
THEIRS = "http://203.0.113.7:8000/v1"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run folder whose config names a server."""
    config = load_config(
        overrides=["teacher.kind=openai", "teacher.model=m", f"teacher.base_url={THEIRS}"]
    )
    (tmp_path / "config.yaml").write_text(dump_config(config))
    (tmp_path / "config.yaml").chmod(0o644)
    return tmp_path


def test_a_config_of_ones_own_says_where_the_key_goes(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options.config_of(None, str(run_dir), None)
    said = capsys.readouterr().err
    assert said.startswith(f"the key in OPENAI_API_KEY goes to {THEIRS} (teacher.base_url of ")


def test_one_that_every_user_can_write_to_is_refused_until_it_is_named(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run_dir / "config.yaml"
    file.chmod(0o666)
    said = mistake(capsys, "run", "--run-dir", str(run_dir))
    assert f"{file} can be written to by every user" in said
    assert THEIRS in said
    assert f"baldistill run {file} --run-dir {run_dir}" in said
    options.config_of([str(file)], str(run_dir), None)
    options.config_of(None, str(run_dir), None, spends=False)  # `plan` calls nobody


@pytest.mark.skipif(not is_root, reason="only root gives files away")
def test_one_of_another_user_is_refused(run_dir: Path) -> None:
    os.chown(run_dir / "config.yaml", 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        options.config_of(None, str(run_dir), None)


def test_without_a_server_of_its_own_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(load_config()))
    (tmp_path / "config.yaml").chmod(0o666)
    options.config_of(None, str(tmp_path), None)
    assert capsys.readouterr().err == ""


def test_code_of_a_task_file_is_not_run_for_somebody_else(tmp_path: Path) -> None:
    config = load_config(None, ["evaluation.benchmarks=[hellaswag, theirs.yaml]"])
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    storage = Storage.open(tmp_path)
    file.chmod(0o644)
    check_code_is_safe(storage, config)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match=r"runs the code that theirs\.yaml names"):
        check_code_is_safe(storage, config)
    check_code_is_safe(storage, load_config(None, ["evaluation.benchmarks=hellaswag"]))
