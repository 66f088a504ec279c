"""Selection scores besides IFD (`core/ifd.py`): of losses, and of the student's conclusions.

`wrong` puts what the student answers wrongly first, as LLM2LLM (Lee et al. 2024) does with its seed
examples; the IFD orders the wrong ones among themselves, and the right ones behind them.
`disagreement` asks the student several times: the less its answers agree, the less sure it is
(Zhou and Ai 2024, *Teaching-Assistant-in-the-Loop*).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from baldistill.core.majority import Ballots


def loss_ratio(
    nll_conditional: npt.NDArray[np.float64], nll_unconditional: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return meanNLL(y | x) / meanNLL(y): the IFD of Cherry LLM's own code (Li et al. 2023).

    It is above 1 where the ratio of the perplexities is. Among responses it orders otherwise.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(nll_conditional / nll_unconditional, dtype=np.float64)


def wrongness(
    correct: Sequence[bool | None], ifd: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return (1 - correct) + IFD / (1 + IFD) of each answer: wrong ones score at least 1.

    Args:
        correct: Whether the answer is right; None counts as wrong.
        ifd: Shape (num_answers,). An answer without an IFD (NaN) gets 0 for it.
    """
    wrong = np.array([answer is not True for answer in correct], dtype=np.float64)
    known = np.where(np.isnan(ifd), 0.0, ifd)
    return np.asarray(wrong + (1.0 - 1.0 / (1.0 + known)), dtype=np.float64)


def disagreement(conclusions: Sequence[str | None], same: Callable[[str, str], bool]) -> float:
    """Return 1 minus the largest share of answers to one question that conclude the same.

    An answer without a conclusion (None) agrees with no other. 0: all agree.
    """
    ballots = Ballots(len(conclusions), same)
    for conclusion in conclusions:
        ballots.add(conclusion)
    largest = max((len(members) for _, members in ballots.groups), default=1)
    return 1.0 - largest / len(conclusions)
