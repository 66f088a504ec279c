"""Generation by an OpenAI-compatible server: one client, many requests in flight.

All batches that the actor is given share the client's places, rates and view of the server; so
the number in flight stays full although batches end at different times, and a row that hangs or
waits holds up no other: a call returns what is there soon after its first answer, and whoever made
it calls again for the rest.

Where the response store is on a disk, an answer is written there the moment it is received: so it
outlives this process and the driver, whatever becomes of them before it is settled.

What the server refused without working on it is asked again here. A call that failed and may have
been charged for is handed back: whoever keeps the accounts decides on another one.

The `openai` client builds, sends and checks the requests, over its aiohttp transport and without
its typed models, which were measured to halve the processor time of a request. Its own retries
are off: they hold the place of a request while it waits, and end after a number of tries, where
a server that restarts wants to be waited for.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2
import openai

from baldistill.answers.completion import Completion
from baldistill.answers.journal import Journal
from baldistill.config.engines import OpenAIOptions
from baldistill.config.teachers import OpenAITeacher
from baldistill.errors import UserError
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.openai.connection import ServerEngine
from baldistill.generation.openai.dialect import completion_of, estimated_tokens
from baldistill.generation.openai.faults import Fault, UnusableAnswerError, fault_of, of_one_row
from baldistill.generation.openai.limits import Rate, Slots, backoff
from baldistill.generation.types import Request, Sampling

_GATHER_S = 0.05  # for answers that come soon after the first of their batch
_LONGEST_S = 1.0  # for the first: another batch may want the thread


class OpenAIEngine(ServerEngine):
    """A model behind a server that answers each request at once."""

    def __init__(self, options: OpenAIOptions, journals: str | None = None) -> None:
        """Start the event loop; `load` makes the client.

        Args:
            options: Rates are shared equally by the replicas of a teacher.
            journals: Folder of the response store where it is on a disk: answers are written
                there at once.
        """
        super().__init__(options)
        self._slots = Slots(options.concurrency)
        share = _replicas(options)
        self._requests = _rate(options.requests_per_minute, share)
        self._tokens = _rate(options.tokens_per_minute, share)
        self._ages = itertools.count()
        self._rows: dict[str, asyncio.Task[Completion | None]] = {}
        self._journal = None if journals is None else Journal(journals)

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> Sequence[Completion | None]:
        """Answer a batch, as `ServerEngine.generate`; what it tells of is on the disk."""
        try:
            return super().generate(requests, sampling, on_ended)
        finally:
            if self._journal is not None:
                self._journal.sync()

    def close(self) -> None:
        """End the client, the loop and the journal."""
        super().close()
        if self._journal is not None:
            self._journal.close()

    async def _answer(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | None]:
        if not requests:
            return []
        rows = [self._under_way(request, sampling) for request in requests]
        await asyncio.wait(rows, timeout=_LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(rows, timeout=_GATHER_S)
        if self._stop is not None:  # what was sent may be charged for: it is waited for
            await asyncio.wait(rows)
        for request, row in zip(requests, rows, strict=True):
            if row.done():
                self._rows.pop(request.request_id, None)
        return [row.result() if row.done() else None for row in rows]

    def _under_way(self, request: Request, sampling: Sampling) -> asyncio.Task[Completion | None]:
        """A row that is being answered: since an earlier call, or from now on."""
        name = request.request_id
        if name not in self._rows:
            row = self._row(request, sampling, next(self._ages))
            self._rows[name] = asyncio.create_task(row)
        return self._rows[name]

    async def _row(self, request: Request, sampling: Sampling, age: int) -> Completion | None:
        """Ask until there is an answer, or a call that failed and may be charged for.

        None where all has to stop: then the server has done nothing for the row.
        """
        failures, refusals = request.failures, 0
        while True:
            try:
                outcome = await self._try(request, sampling, age)
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
                    # a gateway may have no answer to this one row, while it answers others
                    failures += fault.status != 429 and self._outage.answers > others
            except UserError as error:
                self._stop_all(error)
                return None
            failures += fault.remedy == "again"
            if fault.remedy == "row" or failures > self._options.max_retries:
                return self._given_up(request, fault)
            await self._pause(max(wait, fault.wait or 0.0))
            if fault.remedy == "again":
                return Completion.failed(request.request_id, str(fault), retriable=True)

    def _written(self, completion: Completion) -> Completion:
        """An answer with the segment that has it; none where the driver is to write it."""
        if self._journal is None or completion.error is not None:
            return completion
        try:
            return replace(completion, segment=self._journal.append(completion))
        except OSError:
            return completion

    def _given_up(self, request: Request, fault: Fault) -> Completion:
        """An error row; all stops where the server has nothing else for any row."""
        if fault.remedy == "row":
            self._outage.answered()
        else:
            try:
                self._outage.row_lost(fault)
            except UserError as error:
                self._stop_all(error)
        return Completion.failed(request.request_id, str(fault))

    async def _try(
        self, request: Request, sampling: Sampling, age: int
    ) -> Completion | tuple[Fault, int] | None:
        """Ask once: the answer, or what went wrong and how many answers had come before."""
        cost = estimated_tokens(request.prompt) + sampling.max_new_tokens
        async with self._slots.hold(age):
            while self._stop is None:
                await self._outage.over()
                await self._wait_for_rates(cost)
                if self._stop is not None:
                    return None
                answers = self._outage.answers
                body = self._dialect.body(self._model, request, sampling)
                answer = await self._send(body)
                if not isinstance(answer, Fault):
                    try:
                        completion = completion_of(request, answer)
                    except UnusableAnswerError as error:
                        return fault_of(error, self._key), answers
                    self._settle(cost - completion.prompt_tokens - completion.completion_tokens)
                    return completion
                self._settle(cost)
                learnt = self._dialect.learn(answer, body)
                if learnt is None:
                    return answer, answers
                self._learnt.append(f"{self._server}: {learnt}")
        return None

    async def _send(self, body: dict[str, Any]) -> Any:
        """The server's JSON, or the fault."""
        path = "/chat/completions" if "messages" in body else "/completions"
        self._outage.in_flight += 1
        try:
            async with asyncio.timeout(self._options.timeout_s):
                response = await self._client.post(path, cast_to=httpx2.Response, body=body)
            return _json(response)
        except (openai.APIError, httpx2.RequestError, TimeoutError, UnusableAnswerError) as error:
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
        """Give back to the limit what was reserved and not used."""
        if self._tokens is not None:
            self._tokens.give_back(unused, time.monotonic())


def _json(response: httpx2.Response) -> Any:
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    if not kind.endswith("json"):
        raise UnusableAnswerError(f"content of type {kind or 'unknown'!r} in the place of JSON")
    try:
        return response.json()
    except ValueError as error:
        raise UnusableAnswerError(f"no valid JSON: {error}") from None


def _replicas(options: OpenAIOptions) -> int:
    """Engines that share a teacher's limits; `auto` is one for a server."""
    chosen = options.resources.replica_range if isinstance(options, OpenAITeacher) else None
    return 1 if chosen is None else chosen[1]


def _rate(per_minute: float | None, share: int) -> Rate | None:
    return None if per_minute is None else Rate(per_minute / share)
