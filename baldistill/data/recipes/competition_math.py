"""MATH: competition problems of seven subjects, each a domain (Hendrycks et al. 2021).

What the paper says (section 4, table 1): seven domains, 5,000 test rows (the whole test set),
budgets of 2,100 and 3,500. The authors' code (Tonyzhou98/long_tail_kd) cuts the training set of
7,500 by Zipf's law with alpha 1.1 to 4,125 rows, whose sizes by subject are taken here. Which rows
it keeps is a random draw.
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

SIZES = {
    "Algebra": 1744,
    "Intermediate Algebra": 763,
    "Prealgebra": 561,
    "Geometry": 349,
    "Number Theory": 290,
    "Counting & Probability": 231,
    "Precalculus": 187,
}
"""Training rows of each subject, as in the authors' code."""


def problem(row: Mapping[str, Any]) -> Iterator[Row]:
    r"""`EleutherAI/hendrycks_math`: problem, level, type, solution; the answer is in `\boxed{}`."""
    answer = boxed(row["solution"])
    if answer:
        yield Row(row["type"].strip(), row["problem"].strip(), answer)
