"""Options that a config sets though its other options make them change nothing.

They are told and not refused: a preset is laid over any config, and a sweep tries many values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import BaseModel

from baldistill.config import Config
from baldistill.core.policies import Gain, Schedule


def unused_options(config: Config) -> list[str]:
    """Return a sentence about each group of such options: which, and why they change nothing."""
    if not config.budget.total:
        return []
    told: dict[str, str] = {}
    for rule in _RULES:
        if not rule.is_idle(config):
            continue
        keys = [key for key in rule.keys if key not in told and _is_set(config, key)]
        told.update(dict.fromkeys(keys, rule.why))
    return [
        f"without effect here: {', '.join(key for key in told if told[key] == why)} ({why})"
        for why in dict.fromkeys(told.values())
    ]


@dataclass(frozen=True, slots=True)
class _Rule:
    keys: tuple[str, ...]
    is_idle: Callable[[Config], bool]
    why: str


def _writes_nothing_new(config: Config) -> bool:
    return "synthesize" not in config.tail.fills


def _selects_at_random(config: Config) -> bool:
    selection = config.selection
    return selection.metric == "random" and selection.diversity == "none"


def _selects_in_one_stage(config: Config) -> bool:
    selection = config.selection
    return config.stages == 1 and selection.first_stage == "random" and selection.metric != "random"


def _asks_about_no_real_example(config: Config) -> bool:
    return not config.teacher_explains


_RULES: Final = (
    _Rule(
        ("tail.seeds", "tail.votes", "tail.verifier", "tail.window", "tail.filter"),
        _writes_nothing_new,
        "tail.fill writes no new examples",
    ),
    _Rule(
        ("tail.seeds", "tail.window"),
        lambda config: config.stages == 1,
        "the first stage has no fine-tuned student to ask, and there is one stage",
    ),
    _Rule(
        ("selection.metric", "selection.by", "selection.text", "selection.ceiling"),
        _selects_in_one_stage,
        "the only stage selects at random: selection.first_stage",
    ),
    _Rule(
        ("selection.by", "selection.text", "selection.ceiling"),
        _selects_at_random,
        "selection.metric=random scores nothing",
    ),
    _Rule(
        ("selection.samples",),
        lambda config: config.selection.metric != "disagreement",
        "it is for selection.metric=disagreement",
    ),
    _Rule(
        ("selection.diversity_pool",),
        lambda config: config.selection.diversity == "none",
        "selection.diversity=none thins nothing",
    ),
    _Rule(
        ("rationale.sees", "rationale.max_attempts", "rationale.filter"),
        _asks_about_no_real_example,
        "student.target=label asks about no real example",
    ),
    _Rule(
        ("rationale.votes",),
        lambda config: config.rationale.accept != "majority",
        "it is for rationale.accept=majority",
    ),
    _Rule(
        ("rationale.max_attempts",),
        lambda config: config.rationale.accept == "majority",
        "rationale.votes says how often a question is asked",
    ),
    _Rule(
        ("student.label_weight",),
        lambda config: config.student.target != "both",
        "it is for student.target=both",
    ),
    _Rule(
        ("budget.policy.beyond_teacher",),
        _asks_about_no_real_example,
        "student.target=label asks the teacher about no real example, so its errors are unknown",
    ),
    _Rule(
        ("budget.policy.w_first", "budget.policy.w_last", "budget.policy.power"),
        lambda config: getattr(config.budget.policy, "weights", None) is not None,
        "budget.policy.weights gives the weight of each stage",
    ),
)


def _is_set(config: Config, key: str) -> bool:
    """Return whether an option is there with another value than its default."""
    *path, name = key.split(".")
    section: Any = config
    for part in path:
        section = getattr(section, part)
    if isinstance(section, BaseModel):
        return bool(getattr(section, name) != type(section).model_fields[name].default)
    if isinstance(section, Gain | Schedule):
        values, defaults = asdict(section), asdict(type(section)())
        return bool(values.get(name) != defaults.get(name))
    return False
