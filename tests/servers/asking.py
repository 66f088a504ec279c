"""Asking an engine directly, as a pool and the ledger's side of it do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from baldistill.answers.completion import Completion
from baldistill.generation.engine import Engine
from baldistill.generation.types import Request, Sampling


def answers_to(engine: Engine, asked: Sequence[Request], sampling: Sampling) -> list[Completion]:
    """All answers, in order: what goes on is asked for again, and so is what failed and may be."""
    answers: dict[str, Completion] = {}
    while left := [request for request in asked if request.request_id not in answers]:
        for request, answer in zip(left, engine.generate(left, sampling), strict=True):
            if answer is not None and answer.retriable:
                again = replace(request, failures=request.failures + 1)
                asked = [again if other is request else other for other in asked]
            elif answer is not None:
                answers[request.request_id] = answer
    return [answers[request.request_id] for request in asked]
