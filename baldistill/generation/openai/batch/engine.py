"""Generation by the Batch API of an OpenAI-compatible server: files of requests, polled for.

No answer is paid twice, whenever a crash comes. The server's own list of batches shows which
requests were sent, and the engine reads this list before it sends anything:

- `custom_id` is the request's id, a hash of all that decides its answer. So an answer is right, no
  matter which batch it came in and which process sent the batch.
- Each call of `generate` first lists the batches. The metadata of our batches say which requests a
  batch may hold (`files.py`), and only batches that may hold requests of the call are opened. Of a
  batch that has ended, the engine reads the output. Of a batch under way, it reads which rows are
  in the input file and waits for them. Meanwhile it sends all other rows.
- If the server does not answer when a batch is created, the batch may still exist. Before the
  engine creates the batch again, it looks in the list for a batch of the uploaded file. An upload
  alone costs nothing.
- A row that failed in the batch of an earlier process is sent again, and its earlier failures do
  not count: the Batch API charges for answers only.

So nothing is cancelled when a run stops: the next run finds the answers.

`faults.py` judges failed rows, as in the engine that sends single requests. When the rest of their
batch is answered, they are sent again in a batch of their own.
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
    MOST_ROWS,
    Batch,
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
from baldistill.run_folder.lock import Hold
from baldistill.storage import Storage


@dataclass(slots=True)
class _Row:
    """A request, and its answer once there is one."""

    request: Request
    failures: int = 0
    answer: Completion | None = None


class OpenAIBatchEngine(BatchServerEngine):
    """A model behind a server that answers files of requests."""

    works_on = True

    def __init__(
        self, options: OpenAIOptions, answers: Storage | None = None, hold: Hold | None = None
    ) -> None:
        super().__init__(options, answers, hold)
        self._adopted = False
        self._reading: dict[str, asyncio.Task[tuple[Batch, Lines]]] = {}

    async def _answer(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | None]:
        rows = {request.request_id: _Row(request) for request in requests}
        self._http.expect(sampling.max_new_tokens)
        await self._guarded(self._answer_all(rows, sampling))
        return [rows[request.request_id].answer for request in requests]

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work; a UserError that ends the work stops the engine."""
        try:
            await work
        except UserError as error:
            self._stop_all(error)

    async def _answer_all(self, rows: Mapping[str, _Row], sampling: Sampling) -> None:
        """Take existing answers, wait for rows under way, send the rest; send failed rows again."""
        under_way = await self._take_ended(rows, sampling)
        held = {name for _, names in under_way for name in names}
        work = [self._take_under_way(batch, rows, sampling) for batch, _ in under_way]
        while work or any(row.answer is None for row in rows.values()):
            bodies = {
                name: self._dialect.body(self._model, row.request, sampling)
                for name, row in rows.items()
                if row.answer is None and name not in held
            }
            work += [self._send(file, rows, sampling) for file in batch_files(bodies)]
            await asyncio.gather(*map(self._guarded, work))
            self._check_stop()
            held, work = set(), []

    async def _take_ended(
        self, rows: Mapping[str, _Row], sampling: Sampling
    ) -> list[tuple[Batch, set[str]]]:
        """Take the answers of ended batches; return batches under way with the rows they hold."""
        under_way = []
        batches = await self._ask(self._listed)
        self._adopt(batches)
        for batch in batches:
            wanted = [name for name, row in rows.items() if row.answer is None]
            names = may_hold(batch.metadata, self._model, wanted) if wanted else set()
            if names and batch.status in ENDED:
                await self._take(batch, rows, sampling)
            elif names and (held := names & await self._names_of(batch, names)):
                under_way.append((batch, held))
        return under_way

    def _adopt(self, batches: Sequence[Batch]) -> None:
        """Learn the dialect from the last answered batch: a refusal may take a day to come."""
        for batch in [] if self._adopted else batches:
            if is_ours(batch.metadata, self._model) and batch.output_file_id:
                with contextlib.suppress(ValueError, TypeError):  # of another version
                    self._dialect.adopt(learnt_of(batch.metadata))
                break
        self._adopted = True

    async def _names_of(self, batch: Batch, names: set[str]) -> frozenset[str]:
        """Return the requests of a batch under way; `names` if the server withholds its file."""
        if batch.id not in self._names:
            lines = await self._lines(batch.input_file_id, or_none=True)
            if lines is None:
                return frozenset(names)
            self._names[batch.id] = frozenset(lines)
        return self._names[batch.id]

    async def _take_under_way(
        self, batch: Batch, rows: Mapping[str, _Row], sampling: Sampling
    ) -> None:
        """Wait for a batch and take its answers; raise if the batch is cancelled meanwhile."""
        self._check_cancelled(await self._take(batch, rows, sampling))

    async def _take(self, batch: Batch, rows: Mapping[str, _Row], sampling: Sampling) -> Batch:
        """Wait for a batch to end, take its answers to these rows, and return the ended batch.

        A batch that was cancelled before this run began may lack answers: its rows are sent again.
        """
        if batch.id not in self._reading:  # several calls may wait for the same batch
            self._reading[batch.id] = asyncio.create_task(self._outputs(batch))
        try:
            batch, lines = await self._reading[batch.id]
        finally:
            self._reading.pop(batch.id, None)
        for name in rows.keys() & lines.keys():
            outcome = outcome_of(rows[name].request, sampling, lines[name], self._key)
            if rows[name].answer is None and isinstance(outcome, Completion):
                self._count_odd(outcome)
                rows[name].answer = outcome
        return batch

    async def _outputs(self, batch: Batch) -> tuple[Batch, Lines]:
        batch = await self._wait(batch)
        self._http.expect(0, min(batch.num_rows, MOST_ROWS))
        if not batch.output_file_id:
            return batch, {}
        return batch, await self._lines(batch.output_file_id, or_none=True) or {}

    async def _send(self, file: BatchFile, rows: Mapping[str, _Row], sampling: Sampling) -> None:
        """Have the server answer a file; judge the outcome of each of its rows."""
        await self._note(rows[name].request for name in file.bodies)
        batch = await self._ended(file)
        lines: Lines = {}
        for file_id in filter(None, (batch.error_file_id, batch.output_file_id)):
            lines |= await self._lines(file_id) or {}
        self._judge(batch, file, lines, rows, sampling)
        self._check_cancelled(batch)

    def _check_cancelled(self, batch: Batch) -> None:
        if batch.status == "cancelled":
            raise UserError(
                f"batch {batch.id} was cancelled at {self._server}; what it had answered is kept. "
                "The same command sends the rest again"
            )

    def _judge(
        self,
        batch: Batch,
        file: BatchFile,
        lines: Lines,
        rows: Mapping[str, _Row],
        sampling: Sampling,
    ) -> None:
        """Give rows their answers, or count their failures.

        Raises:
            UserError: The server refuses to work, or answers nothing.
        """
        outcomes = {
            name: outcome_of(rows[name].request, sampling, lines.get(name), self._key)
            for name in file.bodies
        }
        answers = sum(isinstance(outcome, Completion) for outcome in outcomes.values())
        lost: list[tuple[_Row, Fault]] = []
        stop: Fault | None = None
        num_refused = 0
        for name, outcome in outcomes.items():
            row = rows[name]
            if isinstance(outcome, Completion):
                self._count_odd(outcome)
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
