"""Scores of candidates by what the student makes of them: its uncertainty, or its mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from baldistill.config import Config
from baldistill.core.ifd import ifd_batch
from baldistill.core.own_parts import of_example
from baldistill.core.student_scores import disagreement, loss_ratio, wrongness
from baldistill.equality import same_answer
from baldistill.generation.pool import Pool
from baldistill.generation.types import Continuation, Sampling
from baldistill.records import SCORED
from baldistill.student.answer import conclusion_of, mark, prompt_of, respond, with_columns
from baldistill.teacher.prompts import PromptSet

SAMPLE_TEMPERATURE = 0.7  # several answers of a greedy student would all be the same
RIGHT = 0.5  # an answer with at least this mark is right; between 0 and 1 are marks of `qa` alone


@dataclass(frozen=True, slots=True)
class _Responses:
    """The responses from which candidates are scored.

    Attributes:
        texts: The response y.
        given, alone: Log-probabilities of its tokens, behind the question x and without it.
        concluded: What the student's responses conclude; none of a gold answer.
        errors: Of the engine.
    """

    texts: list[str]
    given: list[npt.NDArray[np.floating]]
    alone: list[npt.NDArray[np.floating]]
    concluded: list[list[str | None]]
    errors: list[str | None]


def score_responses(
    examples: pa.Table,
    pool: Pool,
    prompts: PromptSet,
    sampling: Sampling,
    config: Config,
    seed: int,
) -> pa.Table:
    """Score candidates by the student's own answers (paper, section 3), or by the gold ones.

    The student writes a rationale y for each candidate x. Writing y gives the log-probabilities
    of y given x; those of y alone cost one forward pass over y. IFD is PPL(y|x) / PPL(y), over
    exactly the same tokens. Where there are gold answers, each answer is marked. With
    `selection.text: gold`, the gold answer itself is y.

    Returns:
        Rows of `records.SCORED`, in order. A response of fewer than two tokens has no IFD. Of
        several answers to a question (`disagreement`), the first one stands in the row.
    """
    rows = examples.to_pylist()
    if config.selection.text == "gold":
        responses = _gold(rows, pool, prompts)
    else:
        responses = _own(examples, pool, prompts, sampling, config, seed)
    nll_given, nll_alone = _mean_nll(responses.given), _mean_nll(responses.alone)
    correct = _correct(rows, responses, config)
    ifd = ifd_batch(responses.given, responses.alone)
    match config.selection.metric:
        case "perplexity":
            scores = np.exp(nll_given)
        case "loss_ratio":
            scores = np.where(np.isnan(ifd), np.nan, loss_ratio(nll_given, nll_alone))
        case "wrong":
            scores = wrongness(correct, ifd)
        case "disagreement":
            both = zip(rows, responses.concluded, strict=True)
            scores = np.array([_disagreement(*pair, prompts, config) for pair in both])
        case _:
            scores = ifd
    left_out = np.array([error is not None for error in responses.errors])
    if (ceiling := config.selection.ceiling) is not None:
        is_ratio = config.selection.metric == "loss_ratio"
        left_out |= (scores if is_ratio else ifd) > ceiling
    columns = {
        "score": np.where(left_out, np.nan, scores),
        "response": responses.texts,
        "num_tokens": np.array([len(tokens) for tokens in responses.given], dtype=np.int32),
        "nll_conditional": nll_given,
        "nll_unconditional": nll_alone,
        "error": responses.errors,
        "correct": correct,
    }
    return with_columns(examples, columns, SCORED)


def _own(
    examples: pa.Table,
    pool: Pool,
    prompts: PromptSet,
    sampling: Sampling,
    config: Config,
    seed: int,
) -> _Responses:
    """Let the student answer."""
    samples = 1
    if config.selection.metric == "disagreement":
        samples = config.selection.samples
        sampling = replace(sampling, temperature=max(sampling.temperature, SAMPLE_TEMPERATURE))
    completions = respond(examples, pool, prompts, sampling, seed, samples)
    first = completions[::samples]
    concluded = [
        [
            conclusion_of(row, completion.text, prompts, config)
            for completion in completions[number * samples : (number + 1) * samples]
        ]
        for number, row in enumerate(examples.to_pylist())
    ]
    return _Responses(
        [completion.text for completion in first],
        [completion.logprobs for completion in first],
        list(pool.score([completion.token_ids for completion in first])),
        concluded,
        [completion.error for completion in first],
    )


def _gold(rows: Sequence[Mapping[str, Any]], pool: Pool, prompts: PromptSet) -> _Responses:
    """Take the gold answers for responses."""
    texts = [row["answer"] for row in rows]
    behind = [Continuation(row["answer"], prompt_of(row, prompts)) for row in rows]
    logprobs = pool.score_texts([*behind, *map(Continuation, texts)])
    given, alone = logprobs[: len(rows)], logprobs[len(rows) :]
    return _Responses(texts, list(given), list(alone), [], [None] * len(rows))


def _correct(
    rows: Sequence[Mapping[str, Any]], responses: _Responses, config: Config
) -> list[bool | None]:
    """Mark first answers; None where no gold answer tells, or the comparison stayed open."""
    if config.data.columns.answer is None or not responses.concluded:
        return [None] * len(rows)
    pairs = zip(rows, responses.concluded, strict=True)
    marks = [mark(row, concluded[0], config) for row, concluded in pairs]
    return [None if one is None else one >= RIGHT for one in marks]


def _disagreement(
    row: Mapping[str, Any], concluded: Sequence[str | None], prompts: PromptSet, config: Config
) -> float:
    task, choices = config.task_of(row["domain"]), row["choices"]
    choices = choices or prompts.labels_of(row["domain"])

    def same(a: str, b: str) -> bool:
        return same_answer(task, a, b, choices, row["question"]) is True

    with of_example(row["example_id"]):
        return disagreement(concluded, same)


def _mean_nll(logprobs: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.float64]:
    """Return each response's mean negative log-likelihood, NaN if empty; shape [num_rows]."""
    return np.array([-values.mean() if len(values) else np.nan for values in logprobs])
