"""Scores of candidates by what the student makes of them: its uncertainty, or its mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from baldistill.config import Config
from baldistill.core.ifd import ifd_batch
from baldistill.core.student_scores import disagreement, wrongness
from baldistill.equality import same_answer
from baldistill.generation.pool import Pool
from baldistill.generation.types import Sampling
from baldistill.records import SCORED
from baldistill.student.answer import conclusion_of, mark, respond, with_columns
from baldistill.teacher.prompts import PromptSet

SAMPLE_TEMPERATURE = 0.7  # several answers of a greedy student would all be the same
RIGHT = 0.5  # an answer with at least this mark is right; between 0 and 1 are marks of `qa` alone


def score_responses(
    examples: pa.Table,
    pool: Pool,
    prompts: PromptSet,
    sampling: Sampling,
    config: Config,
    seed: int,
) -> pa.Table:
    """Score candidates by the student's own answers (paper, section 3).

    The student writes a rationale y for each candidate x. Writing y gives the log-probabilities
    of y given x; those of y alone cost one forward pass over y. IFD is PPL(y|x) / PPL(y), over
    exactly the same tokens. Where there are gold answers, each answer is marked.

    Returns:
        Rows of `records.SCORED`, in order. A response of fewer than two tokens has no IFD. Of
        several answers to a question (`disagreement`), the first one stands in the row.
    """
    metric, samples = config.selection.metric, 1
    if metric == "disagreement":
        samples = config.selection.samples
        sampling = replace(sampling, temperature=max(sampling.temperature, SAMPLE_TEMPERATURE))
    completions = respond(examples, pool, prompts, sampling, seed, samples)
    rows = examples.to_pylist()
    concluded = [
        conclusion_of(rows[number // samples], completion.text, prompts, config)
        for number, completion in enumerate(completions)
    ]
    first = completions[::samples]
    conditional = [completion.logprobs for completion in first]
    unconditional = pool.score([completion.token_ids for completion in first])
    nll_given, nll_alone = _mean_nll(conditional), _mean_nll(unconditional)
    correct = _correct(rows, concluded[::samples], config)
    if metric == "disagreement":
        scores = np.array(
            [
                _disagreement(row, concluded[i * samples : (i + 1) * samples], prompts, config)
                for i, row in enumerate(rows)
            ]
        )
    elif metric == "perplexity":
        scores = np.exp(nll_given)
    else:
        scores = ifd_batch(conditional, unconditional)
        scores = wrongness(correct, scores) if metric == "wrong" else scores
    failed = np.array([completion.error is not None for completion in first])
    columns = {
        "score": np.where(failed, np.nan, scores),
        "response": [completion.text for completion in first],
        "num_tokens": np.array([len(c.token_ids) for c in first], dtype=np.int32),
        "nll_conditional": nll_given,
        "nll_unconditional": nll_alone,
        "error": [completion.error for completion in first],
        "correct": correct,
    }
    return with_columns(examples, columns, SCORED)


def _correct(
    rows: Sequence[Mapping[str, Any]], concluded: Sequence[str | None], config: Config
) -> list[bool | None]:
    """Mark answers; None where there is no gold answer, or the comparison stayed open."""
    if config.data.columns.answer is None:
        return [None] * len(rows)
    marks = [mark(*pair, config) for pair in zip(rows, concluded, strict=True)]
    return [None if one is None else one >= RIGHT for one in marks]


def _disagreement(
    row: Mapping[str, Any], concluded: Sequence[str | None], prompts: PromptSet, config: Config
) -> float:
    task, choices = config.task_of(row["domain"]), row["choices"]
    choices = choices or prompts.labels_of(row["domain"])

    def same(a: str, b: str) -> bool:
        return same_answer(task, a, b, choices, row["question"]) is True

    return disagreement(concluded, same)


def _mean_nll(logprobs: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.float64]:
    """Return each response's mean negative log-likelihood, NaN if empty; shape [num_rows]."""
    return np.array([-values.mean() if len(values) else np.nan for values in logprobs])
