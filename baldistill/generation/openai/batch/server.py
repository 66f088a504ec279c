"""The files and batches of an OpenAI-compatible server: created once, polled with patience.

A call that the server does not answer is made again until `patience_s` have passed, as for single
requests (`outage.py`). Before the engine creates a batch a second time, it looks for the batch in
the server's list, because the server may have heard the first call.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

import httpx2
import openai

from baldistill.config.engines import BatchApi, OpenAIOptions
from baldistill.errors import UserError
from baldistill.generation.openai.batch.files import (
    Batch,
    BatchFile,
    batch_of,
    batches_of,
    failure_of,
    id_of,
    metadata_of,
    read_lines,
)
from baldistill.generation.openai.bounded import json_of
from baldistill.generation.openai.connection import ServerEngine
from baldistill.generation.openai.faults import Fault, MovedError, UnusableAnswerError, fault_of
from baldistill.generation.openai.limits import backoff
from baldistill.run_folder.lock import Hold
from baldistill.storage import Storage

T = TypeVar("T")
Lines: TypeAlias = dict[str, dict[str, Any]]

ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
_PROGRESS_EVERY = 60.0  # seconds between two notices of progress
_LONGEST_PAUSE = 600.0  # between two tries while the server's queue is full
_MOST_PAGES = 10_000  # of a list: a server without an end to its list has more
_GONE = (400, 403, 404, 410)


class _RefusedError(UserError):
    """The server refuses a call about files or batches."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class BatchServerEngine(ServerEngine):
    """Makes an engine's calls about files and batches."""

    def __init__(
        self, options: OpenAIOptions, answers: Storage | None = None, hold: Hold | None = None
    ) -> None:
        super().__init__(options, answers, hold)
        self._config = options.batch_api or BatchApi()
        self._under_way: dict[str, Batch] = {}
        self._names: dict[str, frozenset[str]] = {}  # requests of batches under way
        self._num_ended = 0
        self._forgetful = False  # whether the server keeps no metadata
        self._next_progress, self._last_progress = 0.0, ""

    def notice(self) -> str:
        """Return news for the user, also how far the batches are."""
        return "\n".join(filter(None, [super().notice(), self._progress()]))

    async def _listed(self) -> list[Batch]:
        """Return all batches that the server knows."""
        found: dict[str, Batch] = {}
        after: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            raw = await self._client.batches.with_raw_response.list(limit=100, **after)
            batches, more = batches_of(json_of(raw.http_response), self._model, self._key)
            new = {batch.id: batch for batch in batches if batch.id not in found}
            found |= new
            if not more or not new:
                return list(found.values())
            after = {"after": batches[-1].id}
        raise UnusableAnswerError("a list of batches without an end")

    async def _ended(self, file: BatchFile) -> Batch:
        """Have the server work on a file; return the batch when it has ended."""
        upload = ("requests.jsonl", file.content, "application/jsonl")

        async def send() -> str:
            files = self._client.files.with_raw_response
            raw = await files.create(file=upload, purpose="batch")
            return id_of(json_of(raw.http_response), self._key)

        file_id = await self._ask(send)
        tries, full_since = 0, None
        while True:
            batch = await self._wait(await self._create(file_id, file))
            if batch.status != "failed":
                return batch
            fault = failure_of(batch)
            if fault.remedy == "stop":
                raise UserError(f"{self._server} does not work on batch {batch.id}: {fault}")
            tries += 1
            if self._under_way:
                full_since = None
                await self._wait_for_room()
                continue
            full_since = full_since or time.monotonic()
            if time.monotonic() - full_since > self._options.patience_s:
                raise UserError(
                    f"{self._server} took no batch for teacher.patience_s="
                    f"{self._options.patience_s:g} seconds: {fault}. Lower "
                    f"teacher.batch_api.rows={self._config.rows}, or wait for other batches of "
                    "the account; the same command goes on from here"
                )
            await self._pause(min(_LONGEST_PAUSE, self._config.poll_s * 2.0 ** min(tries, 16)))

    async def _create(self, file_id: str, file: BatchFile) -> Batch:
        """Create a batch, unless an earlier try did so and its answer was lost."""
        metadata = metadata_of(self._model, file.bodies, self._dialect.to_text())
        tried = False

        async def create() -> Batch:
            nonlocal tried
            for batch in await self._listed() if tried else []:
                if batch.input_file_id == file_id and batch.status != "failed":
                    return batch
            tried = True
            raw = await self._client.batches.with_raw_response.create(
                input_file_id=file_id,
                endpoint=file.endpoint,
                completion_window=self._config.completion_window,
                metadata=metadata,
            )
            return batch_of(json_of(raw.http_response), self._key)

        batch = await self._ask(create)
        if batch.metadata != metadata and not self._forgetful:
            self._forgetful = True
            self._learnt.append(
                f"{self._server} keeps no metadata of batches: after a crash those under way are "
                "sent, and paid, again"
            )
        self._names[batch.id] = frozenset(file.bodies)
        return batch

    async def _wait(self, batch: Batch) -> Batch:
        """Poll a batch until it has ended."""

        async def look(name: str) -> Batch:
            raw = await self._client.batches.with_raw_response.retrieve(name)
            return batch_of(json_of(raw.http_response), self._key)

        self._under_way[batch.id] = batch
        try:
            while batch.status not in ENDED:
                await self._pause(self._config.poll_s)
                seen = await self._ask(partial(look, batch.id))
                batch = self._under_way[batch.id] = replace(seen, id=batch.id)
            self._num_ended += batch.status != "failed"
            return batch
        finally:
            self._under_way.pop(batch.id, None)
            self._names.pop(batch.id, None)

    async def _wait_for_room(self) -> None:
        """Wait until a batch under way has ended and so made room in the server's queue."""
        before = self._num_ended
        while self._under_way and self._num_ended == before:
            await self._pause(self._config.poll_s)
            self._check_stop()

    async def _lines(self, file_id: str | None, or_none: bool = False) -> Lines | None:
        """Return the lines of a file by request id; None if the server lost or withholds it.

        Raises:
            UserError: The file cannot be read; or the server withholds it, and `or_none` is false.
        """
        if file_id is None:
            return None
        fault: Fault | None = None
        for failures in range(self._options.max_retries + 1):
            await self._pause(backoff(failures) if failures else 0.0)
            try:
                return read_lines(await self._ask(partial(self._content, file_id)), self._key)
            except UnusableAnswerError as error:
                fault = fault_of(error, self._key)
            except _RefusedError as error:
                if or_none and error.status in _GONE:
                    return None
                raise
        raise UserError(f"{self._server} gives no readable file {file_id}: {fault}")

    async def _content(self, file_id: str) -> bytes:
        raw = await self._client.files.with_raw_response.content(file_id)
        return bytes(raw.http_response.content)

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, again and again while the server is away, and return the answer.

        Raises:
            UserError: The server was away too long, or refuses; or the engine stops.
        """
        times = 0
        while True:
            await self._outage.over()
            self._check_stop()
            try:
                answer = await call()
                self._outage.answered()
                return answer
            except (
                openai.APIError, httpx2.RequestError, TimeoutError, UnusableAnswerError, MovedError,
            ) as error:  # fmt: skip
                fault = fault_of(error, self._key)
            if fault.remedy in ("stop", "row"):
                raise _RefusedError(self._refused_by(fault), fault.status)
            times += 1
            await self._pause(self._outage.refused(fault, times))

    def _check_stop(self) -> None:
        if self._stop is not None:
            raise UserError(str(self._stop))

    def _refused_by(self, fault: Fault) -> str:
        """Return the message for a refused call about files or batches."""
        if fault.status in (404, 405, 410, 501):
            return (
                f"{self._server} has no Batch API: {fault}. Leave teacher.batch_api out to send "
                "the requests one by one, or check teacher.base_url"
            )
        return self._stopped_by(fault)

    def _progress(self) -> str:
        """Say how far the batches are; return an empty text if nothing is new."""
        batches = list(self._under_way.values())
        if not batches or time.monotonic() < self._next_progress:
            return ""
        done = sum(batch.num_answered for batch in batches)
        total = sum(batch.num_rows for batch in batches)
        text = f"{done:,} of {total:,} answered"
        if not total:
            text = ", ".join(sorted({batch.status for batch in batches}))
        names = ", ".join(sorted(batch.id for batch in batches)[:3])
        more = f" and {len(batches) - 3} more" if len(batches) > 3 else ""
        text = f"batch{'es' if len(batches) > 1 else ''} {names}{more}: {text}"
        if text == self._last_progress:
            return ""
        self._next_progress, self._last_progress = time.monotonic() + _PROGRESS_EVERY, text
        return text
