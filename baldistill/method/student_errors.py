"""Measure how the current student does, domain by domain, for policies that ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from baldistill.core.own_policy import OwnPolicy
from baldistill.core.policies import Asked, Gain, Policy
from baldistill.data.corpus import sample
from baldistill.method.context import Context
from baldistill.method.earlier import (
    asked_teacher_before,
    joined,
    trained_before,
    tried_before,
    unused_before,
)
from baldistill.method.evaluate import answers_of
from baldistill.method.plan import StudentErrors, policy_of
from baldistill.storage import Storage
from baldistill.student.score import RIGHT


def ask_student(context: Context, stage: int) -> StudentErrors:
    """Let the last student answer real examples, if the policy asks for its errors.

    The student was trained on no one of them, but in domains of which nothing is left. There it
    makes too few errors.
    """
    policy = context.config.budget.policy
    if not policy.questions or stage == 1:
        return StudentErrors()
    examples = questions_for_student(
        context.storage,
        context.corpus.counts,
        stage,
        policy.questions,
        seed=context.seed("errors", stage - 1),
    )
    responses = answers_of(
        context,
        stage - 1,
        ray.data.from_arrow(examples),
        title="ask student",
        total=len(examples),
    )
    asked: Counter[str] = Counter(responses["domain"].to_pylist())
    right = responses.filter(pc.greater_equal(responses["score"], RIGHT))
    known: Counter[str] = Counter(right["domain"].to_pylist())
    return StudentErrors({d: Asked(n, n - known[d]) for d, n in sorted(asked.items())})


def questions_for_student(
    storage: Storage, counts: Mapping[str, int], stage: int, most: int, *, seed: int
) -> pa.Table:
    """Return a sample of each domain's real examples that no stage before this one tried.

    Of a domain in which all were tried, it is a sample of all.
    """
    unused = unused_before(storage, stage, counts)
    fresh = {domain: min(most, count) for domain, count in unused.items() if count}
    spent = {domain: min(most, counts[domain]) for domain in counts.keys() - fresh.keys()}
    tables = []
    if fresh:
        tried = tried_before(storage, stage)
        tables.append(sample(storage, fresh, unused, tried=tried, seed=seed))
    if any(spent.values()):
        tables.append(sample(storage, spent, counts, tried=set(), seed=seed))
    return joined(tables)


def policy_of_stage(context: Context, stage: int, errors: StudentErrors) -> Policy:
    """Return the balancing policy of a stage, with what earlier stages tell it."""
    config, storage = context.config, context.storage
    if not isinstance(config.budget.policy, Gain | OwnPolicy):
        return policy_of(config, errors, {})
    trained, teacher = trained_before(storage, stage), asked_teacher_before(storage, stage)
    return policy_of(config, errors, trained, teacher)
