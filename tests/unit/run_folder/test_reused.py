"""What runs that share answers spare each other."""

from __future__ import annotations

import pytest

from baldistill.config.loading import load_config
from baldistill.run_folder.spending import reused_from_other_runs

SUMMARY = {"by_tier": {"1": {"reused": 5}, "2": {"reused": 3}}}
REPLAY, MODEL = "{kind: replay, path: answers.parquet}", "{kind: transformers, model: large}"


@pytest.mark.parametrize(
    ("first", "second", "reused"), [(MODEL, MODEL, 8), (REPLAY, MODEL, 3), (MODEL, REPLAY, 5)]
)
def test_what_a_recording_answers_is_no_answer_of_another_run(
    first: str, second: str, reused: int
) -> None:
    config = load_config(None, ["teacher.kind=cascade", f"teacher.tiers=[{first}, {second}]"])
    assert reused_from_other_runs(SUMMARY, config.teacher.tiers) == reused


def test_a_run_that_asked_nobody_reused_nothing() -> None:
    assert reused_from_other_runs({"by_tier": {}}, load_config().teacher.tiers) == 0
