"""Spaces: errors name the key and the nearest one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from baldistill.errors import ConfigError
from baldistill.tune.space import parse_space

TINY = "search: grid\nparameters: {student.epochs: {kind: choice, values: [1, 2]}}\n"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"serach": "grid"}, ["serach: unknown key", "did you mean search?"]),
        ({"search": "gird"}, ["search", "'grid'"]),
        ({"search": "random"}, ["search random needs trials"]),
        ({"metric": "marco"}, ["'marco'", "macro"]),
        ({"metric": ["macro", "macro"]}, ["two different"]),
        ({"stopping": {"kind": "asha", "grase": 1}}, ["did you mean stopping.grace?"]),
        ({"parameters": {}}, ["parameters", "at least 1"]),
        (
            {"parameters": {"student.epochs": {"kind": "int", "low": 1, "hihg": 2}}},
            ["did you mean parameters.student.epochs.high?"],
        ),
        (
            {"parameters": {"student.epochs": {"kind": "float", "low": 3, "high": 1}}},
            ["low (3) must be below high (1)"],
        ),
        (
            {"parameters": {"a": {"kind": "float", "low": 0, "high": 1, "log": True}}},
            ["above 0 on a log scale"],
        ),
        ({"parameters": {"a": {"kind": "chioce", "values": [1]}}}, ["did you mean choice?"]),
    ],
)
def test_errors_in_a_space_name_the_key(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_space(TINY, "tiny.yaml", change)
    for word in [*words, "tiny.yaml"]:
        assert word in str(caught.value)


def test_spaces_are_read_without_ray_or_torch() -> None:
    code = (
        "import sys, baldistill.tune.space, baldistill.tune.points; "
        "print([m for m in ('ray', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
