"""The costs that a preview says: its own, the plan's, and the plan's as corrected by them."""

from __future__ import annotations

import pytest

from baldistill.commands.plan_usage import PlannedCalls
from baldistill.commands.preview import Preview, show
from baldistill.commands.preview_costs import asked_for_rationales, by_halves
from baldistill.config.loading import load_config
from baldistill.progress.display import Display

CONFIG = load_config(
    None,
    ["teacher.rationale.max_new_tokens=40", "teacher.synthesis.max_new_tokens=200",
     "teacher.prices={prompt_per_million: 1000000, completion_per_million: 1000000}"],
)  # fmt: skip
CALLS = [
    PlannedCalls(0, "rationale", "head", 10, 20),
    PlannedCalls(0, "rationale", "tail", 2, 4),
    PlannedCalls(0, "synthesis", "tail", 8, 16),
    PlannedCalls(0, "verification", "tail", 8, 16),
]
LENGTHS = {
    (0, "rationale", "head"): 30.0, (0, "rationale", "tail"): 80.0,
    (0, "synthesis", "tail"): 300.0, (0, "verification", "tail"): 50.0,
}  # fmt: skip


def test_new_examples_cost_as_much_more_as_rationales_did() -> None:
    found = by_halves(CONFIG, CALLS, LENGTHS)
    # half of the longest answers: 20 tokens, and 100 of a new example
    assert found.to_dict() == {
        "real": {"calls": 12, "tokens": 10 * 50 + 2 * 100, "cost": 700},
        "new": {"calls": 16, "tokens": 8 * 400 + 8 * 70, "cost": 3760},
    }
    purposes = {
        "rationale": {"calls": 2, "prompt_tokens": 250, "completion_tokens": 300},
        "vote": {"calls": 1, "prompt_tokens": 30, "completion_tokens": 20},
        "judgement": {"calls": 3, "prompt_tokens": 10**6, "completion_tokens": 10**6},
    }
    asked = asked_for_rationales({"by_purpose": purposes})
    assert asked == (3, 600)
    # a judge's calls double those of each domain, and change nothing
    ratio = found.ratio({"head": 4, "tail": 2}, *asked)
    assert ratio == 600 / (2 * 50 + 100)
    assert found.scaled(ratio) == {"calls": 16, "tokens": 3760 * 3, "cost": 3760 * 3}
    assert found.ratio({}, 3, 600) is None
    assert found.ratio({"head": 2}, 2, 0) is None, "all answers were there before"


def test_both_estimates_and_each_domain_are_said(capfd: pytest.CaptureFixture[str]) -> None:
    found = by_halves(CONFIG, CALLS, LENGTHS)
    spent = {"calls": 3, "tokens": 600, "cost": 600.0}
    expected = {"calls": 12, "tokens": 2400, "cost": 2400.0}
    domains = {"head": {"calls": 2, "tokens": 350, "cost": 350.0}}
    domains["tail"] = {"calls": 1, "tokens": 250, "cost": 250.0}
    show(
        Preview("runs/x", (), None, 3, spent, expected, 8, "gold answer", domains,
                found.to_dict(), 3.0, found.scaled(3.0)),
        Display(),
    )  # fmt: skip
    said = " ".join("".join(capfd.readouterr()).split())
    assert "head: 2 calls, 350 tokens, cost 350 tail: 1 calls, 250 tokens, cost 250" in said
    assert "need some 12 calls, 2,400 tokens, cost 2,400 (the plan estimates 12 calls, 700" in said
    assert "the new examples need some 16 calls, 11,280 tokens" in said
    assert "(the plan estimates 16 calls, 3,760 tokens, cost 3,760)" in said
    assert "scaled by 3.00, the real to the estimated tokens of the calls above" in said
