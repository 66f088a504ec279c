"""Let the student answer questions, and mark its answers to the evaluation set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from baldistill.answers.completion import Completion
from baldistill.config import Config
from baldistill.core.answers import extract, word_f1
from baldistill.core.own_parts import of_example
from baldistill.equality import NOT_COMPARED, is_accepted
from baldistill.generation.pool import Pool
from baldistill.generation.types import Prompt, Request, Sampling
from baldistill.records import RESPONSES, digest, with_optional
from baldistill.teacher.prompts import PromptSet


def respond(
    examples: pa.Table,
    pool: Pool,
    prompts: PromptSet,
    sampling: Sampling,
    seed: int,
    samples: int = 1,
) -> list[Completion]:
    """Let the student answer questions, each so many times.

    Returns:
        The completions of the first row, then those of the second, and so on.
    """
    columns = ["question", "domain", "example_id", "context"]
    rows = examples.select([c for c in columns if c in examples.column_names]).to_pylist()
    requests: list[Request] = []
    for row in rows:
        prompt = prompt_of(row, prompts)
        for sample in range(samples):
            key: dict[str, object] = {"seed": seed, "example": row["example_id"]}
            key |= {"sample": sample} if sample else {}
            name = str(len(requests))
            requests.append(Request(name, prompt, seed=int(digest(key)[:15], 16)))
    return pool.generate(requests, sampling)


def prompt_of(row: Mapping[str, Any], prompts: PromptSet) -> Prompt:
    """Return how the student is asked about an example."""
    asked = {"question": row["question"], "domain": row["domain"]}
    return prompts.render("student", **asked, context=row.get("context"))


def examine(
    examples: pa.Table, pool: Pool, prompts: PromptSet, sampling: Sampling, config: Config
) -> pa.Table:
    """Let the student answer evaluation questions; return marked `records.RESPONSES`, in order."""
    completions = respond(examples, pool, prompts, sampling, config.seed)
    predictions, scores, errors = [], [], []
    for row, completion in zip(examples.to_pylist(), completions, strict=True):
        prediction = conclusion_of(row, completion.text, prompts, config)
        predictions.append(prediction)
        score = mark(row, prediction, config)
        scores.append(score or 0.0)
        errors.append(NOT_COMPARED if score is None else completion.error)
    columns = {
        "response": [completion.text for completion in completions],
        "prediction": predictions,
        "score": np.array(scores, dtype=np.float64),
        "num_tokens": np.array([len(c.token_ids) for c in completions], dtype=np.int32),
        "error": errors,
    }
    return with_columns(examples, columns, RESPONSES)


def conclusion_of(
    row: Mapping[str, Any], text: str, prompts: PromptSet, config: Config
) -> str | None:
    """Return the answer that a response to an example comes to; None for none."""
    choices = row["choices"] or prompts.labels_of(row["domain"])
    with of_example(row["example_id"]):
        return extract(config.task_of(row["domain"]), text, choices, row["question"])


def mark(row: Mapping[str, Any], prediction: str | None, config: Config) -> float | None:
    """Return the score of one answer, from 0 to 1; None if it could not be compared."""
    task = config.task_of(row["domain"])
    if task == "judged":  # `method.judgement` marks it
        return 0.0
    accepted = [row["answer"], *(row.get("alternatives") or ())]
    if task == "qa":
        return max(word_f1(prediction, answer) for answer in accepted)
    with of_example(row["example_id"]):
        return is_accepted(task, prediction, accepted, row["choices"], row["question"])


def with_columns(examples: pa.Table, columns: Mapping[str, object], schema: pa.Schema) -> pa.Table:
    """Add columns to examples; return a table of `schema`, with what optional ones they have."""
    schema = with_optional(schema, examples.column_names)
    added = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    arrays = [
        added[field.name] if field.name in added else examples[field.name].cast(field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
