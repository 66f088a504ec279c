"""`baldistill preview`: the beginning of a run, which a run goes on from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from runs import ENGINES, answered

import baldistill
from baldistill.cli import app
from baldistill.commands.run import run
from baldistill.config.loading import load_config
from baldistill.errors import ConfigError
from baldistill.placement.engines import Engines

pytestmark = pytest.mark.ray

SMALL = [
    *("budget.total=36", "stages=1", "data.bundled_rows=300", "student.epochs=0.5"),
    *("data.bundled_evaluation_per_domain=2", "student.response.max_new_tokens=16"),
    *ENGINES,
]


def test_a_run_goes_on_and_pays_for_nothing_again(engines: Engines, tmp_path: Path) -> None:
    config = load_config(None, SMALL)
    seen, plain = tmp_path / "seen", tmp_path / "plain"
    result = baldistill.preview(config, rows=2, run_dir=seen, engines=engines, quiet=True)
    assert Counter(one.domain for one in result.shown) == {
        "addition": 2,
        **dict.fromkeys({one.domain for one in result.shown} - {"addition"}, 2),
    }
    assert len({one.domain for one in result.shown}) == 3
    for one in result.shown:
        assert one.question in one.teacher_prompt
        assert one.answer in one.teacher_prompt
        assert one.question in one.student_prompt
        assert one.text
        assert (one.reason is None) == one.accepted
    assert result.synthesis_prompt
    assert result.calls == result.spent["calls"] == len(set(answered(seen))) >= 6
    assert result.by_domain.keys() == {one.domain for one in result.shown}
    assert sum(one["tokens"] for one in result.by_domain.values()) == result.spent["tokens"]
    assert result.ratio
    told = result.planned["new"]["tokens"]
    assert told > 0
    assert result.expected_new["tokens"] == pytest.approx(result.ratio * told)
    num_accepted = sum(one.accepted for one in result.shown)
    assert result.expected["calls"] > result.spent["calls"] > 0 or not num_accepted

    again = baldistill.preview(config, rows=2, run_dir=seen, engines=engines, quiet=True)
    assert again.calls == 0
    assert again.shown == result.shown

    run(config, run_dir=seen, engines=engines, quiet=True)
    run(config, run_dir=plain, engines=engines, quiet=True)
    tables = [
        pq.read_table(folder / "stages/01/annotated.parquet").to_pylist()
        for folder in (seen, plain)
    ]
    assert tables[0] == tables[1]
    spent = [json.loads((f / "metrics.json").read_text())["budget"] for f in (seen, plain)]
    assert spent[0]["total"]["calls"] == spent[1]["total"]["calls"]
    assert sorted(answered(seen)) == sorted(answered(plain))
    learnt = {row["example_id"] for row in tables[0]}
    assert all(one.example_id in learnt for one in result.shown if one.accepted)


def test_a_run_that_explains_nothing_has_no_preview(tmp_path: Path) -> None:
    config = load_config(None, ["student.target=label"])
    with pytest.raises(ConfigError, match=r"explains nothing: see student\.target"):
        baldistill.preview(config, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_the_command_says(
    ray_session: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    options = ["-n", "1", "--domains", "2", "--run-dir", str(folder), "--json"]
    app(["preview", *SMALL, *options], standalone_mode=False)
    out, err = capfd.readouterr()
    said = json.loads(out.splitlines()[-1])
    assert len(said["shown"]) == 2
    shown = out + err
    for one in said["shown"]:
        assert f"=== {one['domain']}" in shown
        assert one["teacher_prompt"].rstrip() in shown
    assert f"to go on: baldistill run --run-dir {folder}" in shown
