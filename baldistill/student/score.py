"""Scores of candidates by the student's own uncertainty: IFD or perplexity."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from baldistill.core.ifd import ifd_batch
from baldistill.generation.pool import Pool
from baldistill.generation.types import Sampling
from baldistill.records import SCORED
from baldistill.student.answer import respond, with_columns
from baldistill.teacher.prompts import PromptSet


def score_responses(
    examples: pa.Table,
    pool: Pool,
    prompts: PromptSet,
    sampling: Sampling,
    seed: int,
    metric: Literal["ifd", "perplexity"],
) -> pa.Table:
    """Score candidates by the student's own uncertainty (paper, section 3).

    The student writes a rationale y for each candidate x. Writing y gives the log-probabilities
    of y given x; those of y alone cost one forward pass over y. IFD is PPL(y|x) / PPL(y), over
    exactly the same tokens.

    Returns:
        Rows of `records.SCORED`, in order. A response of fewer than two tokens has no IFD.
    """
    completions = respond(examples, pool, prompts, sampling, seed)
    conditional = [completion.logprobs for completion in completions]
    unconditional = pool.score([completion.token_ids for completion in completions])
    nll_given, nll_alone = _mean_nll(conditional), _mean_nll(unconditional)
    scores = ifd_batch(conditional, unconditional) if metric == "ifd" else np.exp(nll_given)
    columns = {
        "score": scores,
        "response": [completion.text for completion in completions],
        "num_tokens": np.array([len(c.token_ids) for c in completions], dtype=np.int32),
        "nll_conditional": nll_given,
        "nll_unconditional": nll_alone,
        "error": [completion.error for completion in completions],
    }
    return with_columns(examples, columns, SCORED)


def _mean_nll(logprobs: list[np.ndarray]) -> np.ndarray:
    """Return each response's mean negative log-likelihood, NaN if empty; shape [num_rows]."""
    return np.array([-values.mean() if len(values) else np.nan for values in logprobs])
