"""Weigh a training row in the loss by how many rows its domain has.

For those who may not balance by new examples, or only in part: what the budget's policy leaves
unequal, the weights even out.

Sources: `inverse` and `sqrt` are the usual ones; `class_balanced` is Cui et al. 2019 with beta 0.9,
as Huang et al. 2021 (balanced losses for long-tailed text classification) use it; `disco` is the
domain weight of DISCO (Zhou et al. 2025).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

DomainWeights: TypeAlias = Literal["none", "inverse", "sqrt", "class_balanced", "disco"]

_BETA = 0.9


def domain_weight(scheme: DomainWeights, rows: int, all_rows: int) -> float:
    """Return the weight of a row whose domain has `rows` of all rows, before it is normalised."""
    of: dict[DomainWeights, Callable[[], float]] = {
        "none": lambda: 1.0,
        "inverse": lambda: 1 / rows,
        "sqrt": lambda: rows**-0.5,
        "class_balanced": lambda: (1 - _BETA) / (1 - _BETA**rows),
        "disco": lambda: math.log1p(all_rows / rows),
    }
    return of[scheme]()


def row_weights(domains: Sequence[str], scheme: DomainWeights) -> list[float] | None:
    """Return the weight of each row, with a mean of 1; None where all count alike by choice.

    Args:
        domains: The domain of each row.
        scheme: `student.domain_weights`.
    """
    if scheme == "none" or not domains:
        return None
    counts = Counter(domains)
    weights = {name: domain_weight(scheme, n, len(domains)) for name, n in counts.items()}
    mean = math.fsum(weights[name] * n for name, n in counts.items()) / len(domains)
    return [weights[name] / mean for name in domains]
