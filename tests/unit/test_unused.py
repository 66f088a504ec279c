"""Options that other options leave without effect are told."""

from __future__ import annotations

import pytest

from baldistill.config.loading import load_config
from baldistill.config.unused import unused_options
from baldistill.methods import METHODS


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        (["tail.fill=repeat", "tail.seeds=wrong", "tail.votes=1"], "tail.seeds, tail.votes"),
        (["tail.fill=none", "tail.window=true", "tail.filter=a:B"], "tail.window, tail.filter"),
        (["tail.fill=[rationales, repeat]", "tail.votes=1", "tail.verifier={}"], "tail.verifier"),
        (["stages=1", "tail.window=true"], "tail.window (the first stage has no"),
        (["stages=1", "selection.metric=wrong"], "selection.metric (the only stage selects"),
        (["selection.metric=random", "selection.by=m"], "selection.by (selection.metric=random"),
        (["selection.samples=3"], "selection.samples (it is for selection.metric=disagreement"),
        (["selection.diversity_pool=3"], "selection.diversity_pool (selection.diversity=none"),
        (["rationale.votes=5"], "rationale.votes (it is for"),
        (["student.target=label", "rationale.max_attempts=5"], "rationale.max_attempts (student.t"),
        (["student.label_weight=0.2"], "student.label_weight (it is for student.target=both"),
        (["budget.policy={kind: schedule, weights: [0, 1, 1, 1], w_last: 0.5}"], "policy.w_last"),
        (
            ["student.target=label", "budget.policy={kind: gain, beyond_teacher: true}"],
            "budget.policy.beyond_teacher (student.target=label",
        ),
        (
            ["rationale={sees: question, accept: majority, max_attempts: 5}"],
            "rationale.max_attempts (rationale.votes says",
        ),
    ],
)
def test_an_option_that_changes_nothing_is_named(options: list[str], keys: str) -> None:
    (told,) = unused_options(load_config(None, options))
    assert told.startswith("without effect here: ")
    assert keys in told


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["tail.fill=[rationales, synthesize]", "tail.votes=1", "tail.window=true"],
        ["stages=1", "selection={metric: wrong, first_stage: metric, ceiling: 1.5}"],
        ["selection.metric=random", "selection.diversity=badge", "selection.by=m"],
        ["selection={metric: disagreement, samples: 3}"],
        ["rationale={sees: question, accept: majority, votes: 5}"],
        ["student={target: both, label_weight: 0.2}"],
        ["budget.policy={kind: schedule, w_first: 0.2}"],
        ["budget.policy={kind: gain, beyond_teacher: true}"],
        ["budget.total=0", "rationale.votes=5"],
    ],
)
def test_options_that_count_are_not(options: list[str]) -> None:
    assert unused_options(load_config(None, options)) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_sets_nothing_in_vain_and_stands_on_any_config(method: str) -> None:
    assert unused_options(load_config(None, [], method)) == []
    mine = ["tail={votes: 1, verifier: {}}", "selection={text: gold, ceiling: 1}"]
    config = load_config(None, mine, method, method_wins=True)
    if method.startswith("baldistill"):
        assert config.selection.text == "own", "the paper ranks the student's own responses"
