"""Generation by the Batch API of an OpenAI-compatible server: files of requests, polled for.

Nothing is paid twice, wherever a crash falls, because the server's own list of batches is the
record of what was sent, and nothing is sent before it was read:

- `custom_id` is the request's id, a hash of all that decides its answer; so an answer is right
  whatever batch it came in, and whichever process had sent it.
- Each call of `generate` first lists the batches. The metadata of ours tell which of its requests
  a batch may hold (`openai_batch_files`), so that only those are looked into: of one that ended
  the output is read; one under way is waited for, with the rows that its input file names. All
  other rows are sent meanwhile.
- A batch without an answer to our creating it may exist: the list is read again, for a batch of
  the uploaded file, before it is created once more. An upload alone costs nothing.
- A row that failed in an earlier process's batch is sent again as if for the first time: the
  Batch API charges for answers only.

So nothing is cancelled when a run stops: answers under way are found when it goes on.

Rows that fail are judged by the table of the engine that asks directly, and sent again in a batch
of their own once the others of their batch are there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from baldistill.answers.completion import Completion
from baldistill.config.engines import OpenAIOptions
from baldistill.errors import UserError
from baldistill.generation.openai.batch.files import (
    BatchFile,
    batch_files,
    is_ours,
    learnt_of,
    may_hold,
    outcome_of,
)
from baldistill.generation.openai.batch.server import ENDED, BatchServerEngine, Lines
from baldistill.generation.openai.faults import Fault, of_one_row
from baldistill.generation.types import Request, Sampling


@dataclass(slots=True)
class _Row:
    """A request until it has its answer."""

    request: Request
    failures: int = 0
    answer: Completion | None = None


class OpenAIBatchEngine(BatchServerEngine):
    """A model behind a server that answers files of requests."""

    works_on = True

    def __init__(self, options: OpenAIOptions) -> None:
        """Start the event loop; `load` makes the client."""
        super().__init__(options)
        self._adopted = False
        self._reading: dict[str, asyncio.Task[tuple[Any, Lines]]] = {}

    async def _answer(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | None]:
        rows = {request.request_id: _Row(request) for request in requests}
        await self._guarded(self._answer_all(rows, sampling))
        return [rows[request.request_id].answer for request in requests]

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work; what stops it stops all."""
        try:
            await work
        except UserError as error:
            self._stop_all(error)

    async def _answer_all(self, rows: Mapping[str, _Row], sampling: Sampling) -> None:
        """Take what was answered, wait for what is under way, send the rest; again for failures."""
        found = await self._find(rows)
        held = {name for _, names in found for name in names}
        work = [self._await(batch, rows) for batch, _ in found]
        while work or any(row.answer is None for row in rows.values()):
            wanted = {n: row for n, row in rows.items() if row.answer is None and n not in held}
            bodies = {
                name: self._dialect.body(self._model, row.request, sampling)
                for name, row in wanted.items()
            }
            work += [self._send(file, rows) for file in batch_files(bodies)]
            await asyncio.gather(*map(self._guarded, work))
            self._check_stop()
            held, work = set(), []

    async def _find(self, rows: Mapping[str, _Row]) -> list[tuple[Any, set[str]]]:
        """Take answers of batches that ended; returns those under way, with the rows they hold."""
        under_way = []
        batches = await self._ask(self._listed)
        self._adopt(batches)
        for batch in batches:
            wanted = [name for name, row in rows.items() if row.answer is None]
            names = may_hold(batch.metadata, self._model, wanted) if wanted else set()
            if names and batch.status in ENDED:
                await self._take(batch, rows)
            elif names and (held := names & await self._names_of(batch, names)):
                under_way.append((batch, held))
        return under_way

    def _adopt(self, batches: Sequence[Any]) -> None:
        """Learn from the last batch that was answered: by errors of our own it would take a day."""
        for batch in [] if self._adopted else batches:
            if is_ours(batch.metadata, self._model) and batch.output_file_id:
                with contextlib.suppress(ValueError, TypeError):  # of another version
                    self._dialect.adopt(learnt_of(batch.metadata))
                break
        self._adopted = True

    async def _names_of(self, batch: Any, names: set[str]) -> frozenset[str]:
        """Requests of a batch under way; `names` where the server does not give its file."""
        if batch.id not in self._names:
            lines = await self._lines(batch.input_file_id, or_none=True)
            if lines is None:
                return frozenset(names)
            self._names[batch.id] = frozenset(lines)
        return self._names[batch.id]

    async def _await(self, batch: Any, rows: Mapping[str, _Row]) -> None:
        """Wait for a batch that was found under way, and take its answers.

        Raises:
            UserError: It was cancelled meanwhile.
        """
        self._check_cancelled(await self._take(batch, rows))

    async def _take(self, batch: Any, rows: Mapping[str, _Row]) -> Any:
        """Take the answers of a batch to rows of ours once it has ended; returns it as it is then.

        One that had been cancelled before this run began was given up: its rows are sent again.
        """
        if batch.id not in self._reading:  # several calls may want the same
            self._reading[batch.id] = asyncio.create_task(self._outputs(batch))
        try:
            batch, lines = await self._reading[batch.id]
        finally:
            self._reading.pop(batch.id, None)
        for name in rows.keys() & lines.keys():
            outcome = outcome_of(rows[name].request, lines[name], self._key)
            if rows[name].answer is None and isinstance(outcome, Completion):
                rows[name].answer = outcome
        return batch

    async def _outputs(self, batch: Any) -> tuple[Any, Lines]:
        batch = await self._wait(batch)
        if not batch.output_file_id:
            return batch, {}
        return batch, await self._lines(batch.output_file_id, or_none=True) or {}

    async def _send(self, file: BatchFile, rows: Mapping[str, _Row]) -> None:
        """Have a file answered, and judge what came for each of its rows."""
        batch = await self._ended(file)
        lines: Lines = {}
        for file_id in filter(None, (batch.error_file_id, batch.output_file_id)):
            lines |= await self._lines(file_id) or {}
        self._judge(batch, file, lines, rows)
        self._check_cancelled(batch)

    def _check_cancelled(self, batch: Any) -> None:
        if batch.status == "cancelled":
            raise UserError(
                f"batch {batch.id} was cancelled at {self._server}; what it had answered is kept. "
                "The same command sends the rest again"
            )

    def _judge(
        self,
        batch: Any,
        file: BatchFile,
        lines: Lines,
        rows: Mapping[str, _Row],
    ) -> None:
        """Give rows their answers, or count their failures.

        Raises:
            UserError: The server refuses to work, or answers nothing.
        """
        outcomes = {
            name: outcome_of(rows[name].request, lines.get(name), self._key) for name in file.bodies
        }
        answers = sum(isinstance(outcome, Completion) for outcome in outcomes.values())
        lost: list[tuple[_Row, Fault]] = []
        stop: Fault | None = None
        num_refused = 0
        for name, outcome in outcomes.items():
            row = rows[name]
            if isinstance(outcome, Completion):
                row.answer = outcome
                continue
            fault = of_one_row(outcome, answers)
            if fault.remedy == "stop":
                stop = stop or fault
            elif batch.status == "cancelled":
                continue
            elif learnt := self._dialect.learn(fault, file.bodies[name]):
                self._learnt.append(f"{self._server}: {learnt}")
            elif fault.remedy == "row":
                num_refused += 1
                row.answer = Completion.failed(name, str(fault))
            else:
                row.failures += 1
                if row.failures > self._options.max_retries:
                    lost.append((row, fault))
        if stop is not None:
            raise UserError(self._stopped_by(stop))
        answered = any(row.answer and row.answer.error is None for row in rows.values())
        for row, fault in lost:
            if not answered and not num_refused:
                self._outage.row_lost(fault)
            row.answer = Completion.failed(row.request.request_id, str(fault))
