"""MATH: competition problems of seven subjects, each a domain (Hendrycks et al. 2021).

What the paper says (section 4, table 1): seven domains, 5,000 test rows (the whole test set),
budgets of 2,100 and 3,500. The training set of 7,500 is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from baldistill.core.answer_math import boxed
from baldistill.data.recipes.row import Row

SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
"""Configurations of `EleutherAI/hendrycks_math`."""


def problem(row: Mapping[str, Any]) -> Iterator[Row]:
    r"""`EleutherAI/hendrycks_math`: problem, level, type, solution; the answer is in `\boxed{}`."""
    answer = boxed(row["solution"])
    if answer:
        yield Row(row["type"].strip(), row["problem"].strip(), answer)
