"""Reports of a training: its progress, and how it ended. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """A report of a training under way.

    Attributes:
        step: Optimiser steps done.
        total_steps: Optimiser steps in all; 0 until they are known.
        loss: Mean over the steps since the last report; None before the first step.
        status: What is being done before the first step, such as loading the model.
    """

    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    status: str = ""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Figures of a finished fine-tuning.

    `loss` is the mean over the last tenth of the optimiser steps; `losses` are (step, loss)
    reports. Truncated examples lost tokens; dropped ones had no target within max_length.
    """

    num_examples: int
    num_steps: int
    loss: float
    losses: tuple[tuple[int, float], ...]
    truncated: int
    dropped: int
