"""The paper's methods as presets: small YAML files over the same config, one code path.

A preset is laid over the user's config: `baldistill run CONFIG --method random-ft-cot`.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

from baldistill.errors import ConfigError
from baldistill.yaml12 import read_yaml

METHODS = (
    "zero-shot-cot",
    "random-ft",
    "random-ft-cot",
    "duplicate-ft-cot",
    "balance-ft-cot",
    "active-ft-cot",
    "baldistill-n",
    "baldistill-a",
    "baldistill-n-code",
    "baldistill-a-code",
    "baldistill-e",
    "baldistill-g",
    "seq-kd",
    "fine-tune-cot",
    "step-by-step",
    "llmaaa",
    "diverse-tail",
    "llm2llm",
    "active-synthesis",
    "superfiltering",
    "cherry",
    "ta-in-the-loop",
)
"""In the order of the paper's tables 2 and 3, then as its code runs them, ours, other papers'."""


def preset(method: str) -> dict[str, Any]:
    """Return the keys that a method sets.

    Raises:
        ConfigError: There is no such method.
    """
    if method not in METHODS:
        raise ConfigError(f"there is no method {method!r}: choose from {', '.join(METHODS)}")
    text = resources.files(__package__).joinpath(f"{method}.yaml").read_text("utf-8")
    values = read_yaml(text)
    assert isinstance(values, dict)
    return values
