"""Generation by an OpenAI-compatible server: one client, many requests in flight.

All batches of the engine share the client's slots, its rates and its view of the server. So the
number of requests in flight stays at its limit although batches end at different times. A row that
hangs holds up no other row: a call returns all answers that have come soon after the first,
and the caller calls again for the rest.

A call is noted in the response store just before it is sent. Where the store is on a disk, an
answer is written there the moment it is received. So the answer outlives this process and the
driver, even if they die before the ledger has settled it.

A request that the server refused without working on it is sent again here. A call that failed and
may have been charged for is handed back, because the ledger decides whether another one is made.

The `openai` client builds, sends and checks the requests, over its aiohttp transport and without
its typed models, which was measured to halve the processor time of a request. The client's own
retries are off: a waiting retry would hold a slot, and retries end after a number of tries, while a
server that restarts may be away for longer.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx2
import openai

from baldistill.answers.completion import Completion, estimated_tokens
from baldistill.config.engines import OpenAIOptions
from baldistill.config.teachers import OpenAITeacher
from baldistill.errors import UserError
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.openai.answer import completion_of
from baldistill.generation.openai.bounded import json_of
from baldistill.generation.openai.connection import ServerEngine
from baldistill.generation.openai.faults import (
    Fault,
    MovedError,
    UnusableAnswerError,
    fault_of,
    of_one_row,
)
from baldistill.generation.openai.limits import Rate, Slots, backoff
from baldistill.generation.types import Request, Sampling, plain_text
from baldistill.run_folder.lock import Hold
from baldistill.storage import Storage

_GATHER_S = 0.05  # to wait for more answers after the first of a batch
_LONGEST_S = 1.0  # to wait for the first: another batch may need the thread


class OpenAIEngine(ServerEngine):
    """A model behind a server that answers each request by itself."""

    def __init__(
        self, options: OpenAIOptions, answers: Storage | None = None, hold: Hold | None = None
    ) -> None:
        """Start the event loop; `load` makes the client.

        If `answers` (see `ServerEngine`) is on a disk, answers are written there at once, too.
        """
        super().__init__(options, answers, hold)
        self._slots = Slots(options.concurrency)
        share = _replicas(options)
        self._requests = _rate(options.requests_per_minute, share)
        self._tokens = _rate(options.tokens_per_minute, share)
        self._ages = itertools.count()
        self._rows: dict[str, asyncio.Task[Completion | None]] = {}
        self._journal = None if self._notes is None else self._notes.journal
        # Rows that are noted, and wait for their first slot: so no slot waits for a note.
        ahead = options.concurrency if self._journal is None else options.concurrency // 8
        self._ahead = asyncio.Semaphore(max(4, ahead))

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> Sequence[Completion | None]:
        """Answer a batch as `ServerEngine.generate` does; then sync the journal to the disk."""
        try:
            return super().generate(requests, sampling, on_ended)
        finally:
            if self._journal is not None:
                self._journal.sync()

    async def _answer(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | None]:
        if not requests:
            return []
        rows = [self._under_way(request, sampling) for request in requests]
        await asyncio.wait(rows, timeout=_LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(rows, timeout=_GATHER_S)
        if self._stop is not None:  # requests in flight may be charged for: wait for them
            await asyncio.wait(rows)
        for request, row in zip(requests, rows, strict=True):
            if row.done():
                self._rows.pop(request.request_id, None)
        return [row.result() if row.done() else None for row in rows]

    def _under_way(self, request: Request, sampling: Sampling) -> asyncio.Task[Completion | None]:
        """Return the task that answers a row; start it unless an earlier call has."""
        name = request.request_id
        if name not in self._rows:
            row = self._noted_row(request, sampling, next(self._ages))
            self._rows[name] = asyncio.create_task(row)
        return self._rows[name]

    async def _noted_row(self, request: Request, sampling: Sampling, age: int) -> Completion | None:
        """Note the call of a row, then ask; return what `_row` returns."""
        async with AsyncExitStack() as ahead:
            await ahead.enter_async_context(self._ahead)
            if self._stop is not None:
                return None
            try:
                await self._note([request])
            except UserError as error:
                self._stop_all(error)
                return None
            return await self._row(request, sampling, age, ahead)

    async def _row(
        self, request: Request, sampling: Sampling, age: int, ahead: AsyncExitStack
    ) -> Completion | None:
        """Ask until there is an answer, or a failed call that may be charged for.

        Return None if the engine stops and the server has done nothing for the row.
        """
        failures, refusals = request.failures, 0
        while True:
            try:
                outcome = await self._try(request, sampling, age, ahead)
                if outcome is None:
                    return None
                if isinstance(outcome, Completion):
                    self._outage.answered()
                    return self._written(outcome)
                fault, others = outcome
                fault = of_one_row(fault, self._outage.answers)
                if fault.remedy == "stop":
                    raise UserError(self._stopped_by(fault))
                wait = backoff(failures + 1)
                if fault.remedy == "wait":
                    refusals += 1
                    wait = self._outage.refused(fault, refusals)
                    # A gateway may be unable to answer this one row, while it answers others.
                    failures += fault.status != 429 and self._outage.answers > others
            except UserError as error:
                self._stop_all(error)
                return None
            failures += fault.remedy == "again"
            if fault.remedy == "row" or failures > self._options.max_retries:
                return self._given_up(request, fault)
            await self._pause(max(wait, min(fault.wait or 0.0, self._options.patience_s)))
            if fault.remedy == "again":
                return Completion.failed(request.request_id, str(fault), retriable=True)

    def _written(self, completion: Completion) -> Completion:
        """Write an answer to the journal; the driver writes answers without a segment."""
        if self._journal is None or completion.error is not None:
            return completion
        try:
            return replace(completion, segment=self._journal.append(completion))
        except OSError:
            return completion

    def _given_up(self, request: Request, fault: Fault) -> Completion:
        """Return an error row; stop the engine if the last rows all failed."""
        if fault.remedy == "row":
            self._outage.answered()
        else:
            try:
                self._outage.row_lost(fault)
            except UserError as error:
                self._stop_all(error)
        return Completion.failed(request.request_id, str(fault))

    async def _try(
        self, request: Request, sampling: Sampling, age: int, ahead: AsyncExitStack
    ) -> Completion | tuple[Fault, int] | None:
        """Ask once; return the answer, or the fault and how many answers had come before."""
        cost = estimated_tokens(plain_text(request.prompt)) + sampling.max_new_tokens
        async with self._slots.hold(age):
            await ahead.aclose()  # the first time: it is no longer ahead of the slots
            while self._stop is None:
                await self._outage.over()
                await self._wait_for_rates(cost)
                if self._stop is not None:
                    return None
                answers = self._outage.answers
                body = self._dialect.body(self._model, request, sampling)
                self._http.expect(sampling.max_new_tokens)
                answer = await self._send(body)
                if not isinstance(answer, Fault):
                    try:
                        completion = completion_of(request, sampling, answer, self._key)
                    except UnusableAnswerError as error:
                        return fault_of(error, self._key), answers
                    self._count_odd(completion)
                    self._settle(cost - completion.prompt_tokens - completion.completion_tokens)
                    return completion
                self._settle(cost)
                learnt = self._dialect.learn(answer, body)
                if learnt is None:
                    return answer, answers
                self._learnt.append(f"{self._server}: {learnt}")
        return None

    async def _send(self, body: dict[str, Any]) -> Any:
        """Return the server's JSON, or the fault."""
        path = "/chat/completions" if "messages" in body else "/completions"
        self._outage.in_flight += 1
        try:
            async with asyncio.timeout(self._options.timeout_s):
                response = await self._client.post(path, cast_to=httpx2.Response, body=body)
            return json_of(response)
        except (
            openai.APIError, httpx2.RequestError, TimeoutError, UnusableAnswerError, MovedError,
        ) as error:  # fmt: skip
            return fault_of(error, self._key)
        finally:
            self._outage.in_flight -= 1

    async def _wait_for_rates(self, cost: float) -> None:
        now = time.monotonic()
        waits = []
        if self._requests is not None:
            waits.append(self._requests.take(1, now))
        if self._tokens is not None:
            waits.append(self._tokens.take(cost, now))
        await self._pause(max(waits, default=0.0))

    def _settle(self, unused: float) -> None:
        """Give back tokens that the rate limit reserved and the call did not use."""
        if self._tokens is not None:
            self._tokens.give_back(unused, time.monotonic())


def _replicas(options: OpenAIOptions) -> int:
    """Return how many engines share a teacher's limits; for a server, `auto` is one."""
    chosen = options.resources.replica_range if isinstance(options, OpenAITeacher) else None
    return 1 if chosen is None else chosen[1]


def _rate(per_minute: float | None, share: int) -> Rate | None:
    return None if per_minute is None else Rate(per_minute / share)
