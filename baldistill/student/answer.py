"""The student's responses, and what they say about how well it knows a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from baldistill.answers.completion import Completion
from baldistill.config import Config
from baldistill.core.answers import equal, extract, word_f1
from baldistill.core.ifd import ifd_batch
from baldistill.generation.pool import Pool
from baldistill.generation.types import Request, Sampling
from baldistill.records import RESPONSES, SCORED, digest
from baldistill.teacher.prompts import PromptSet


def respond(
    examples: pa.Table, pool: Pool, prompts: PromptSet, sampling: Sampling, seed: int
) -> list[Completion]:
    """Let the student answer; one completion for each row, in order."""
    requests = [
        Request(
            str(number),
            prompts.render("student", question=question, domain=domain),
            seed=int(digest({"seed": seed, "example": example_id})[:15], 16),
        )
        for number, (question, domain, example_id) in enumerate(
            zip(
                examples["question"].to_pylist(),
                examples["domain"].to_pylist(),
                examples["example_id"].to_pylist(),
                strict=True,
            )
        )
    ]
    return pool.generate(requests, sampling)


def score_responses(
    examples: pa.Table,
    pool: Pool,
    prompts: PromptSet,
    sampling: Sampling,
    seed: int,
    metric: Literal["ifd", "perplexity"],
) -> pa.Table:
    """Score candidates by the student's own uncertainty (paper, section 3).

    The student writes a rationale y for each candidate x. The log-probabilities of y given x
    are known from writing it; those of y alone cost one forward pass over y. IFD is
    PPL(y|x) / PPL(y), over exactly the same tokens.

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
    return _extended(examples, columns, SCORED)


def examine(
    examples: pa.Table,
    pool: Pool,
    prompts: PromptSet,
    sampling: Sampling,
    config: Config,
) -> pa.Table:
    """Let the student answer evaluation questions and mark the answers.

    Returns:
        Rows of `records.RESPONSES`, in order.
    """
    completions = respond(examples, pool, prompts, sampling, config.seed)
    predictions, scores = [], []
    rows = zip(examples.to_pylist(), completions, strict=True)
    for row, completion in rows:
        choices = row["choices"] or prompts.labels_of(row["domain"])
        prediction = extract(
            config.task_of(row["domain"]), completion.text, choices, row["question"]
        )
        predictions.append(prediction)
        scores.append(_mark(row, prediction, config))
    columns = {
        "response": [completion.text for completion in completions],
        "prediction": predictions,
        "score": np.array(scores, dtype=np.float64),
        "num_tokens": np.array([len(c.token_ids) for c in completions], dtype=np.int32),
        "error": [completion.error for completion in completions],
    }
    return _extended(examples, columns, RESPONSES)


def _mark(row: Mapping[str, Any], prediction: str | None, config: Config) -> float:
    task = config.task_of(row["domain"])
    if task == "qa":
        return word_f1(prediction, row["answer"])
    return float(equal(task, prediction, row["answer"], row["choices"], row["question"]))


def _mean_nll(logprobs: list[np.ndarray]) -> np.ndarray:
    """Mean negative log-likelihood of each response, NaN for an empty one, shape [num_rows]."""
    return np.array([-values.mean() if len(values) else np.nan for values in logprobs])


def _extended(examples: pa.Table, columns: Mapping[str, object], schema: pa.Schema) -> pa.Table:
    added = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    arrays = [
        added[field.name] if field.name in added else examples[field.name].cast(field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
