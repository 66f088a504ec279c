"""The connection of an engine to an OpenAI-compatible server: one client in one event loop.

All batches of an engine share one event loop, which runs in its own thread; one client; and one
view of the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import httpx2
import numpy as np
import openai

from baldistill.answers.completion import Completion
from baldistill.config.engines import OpenAIOptions
from baldistill.errors import UserError
from baldistill.generation.engine import EngineStoppedError, OnEnded, ignore_ended
from baldistill.generation.openai.bounded import BoundedClient
from baldistill.generation.openai.dialect import Dialect
from baldistill.generation.openai.faults import Fault
from baldistill.generation.openai.key import OPENAI_URL, read_key
from baldistill.generation.openai.notes import Notes
from baldistill.generation.openai.outage import Outage
from baldistill.generation.types import ModelRef, Request, Sampling
from baldistill.run_folder.lock import Hold
from baldistill.storage import Storage

T = TypeVar("T")

_CONNECT_S = 10.0
_NO_KEY = "none"  # for servers without keys: the client requires one


class ServerEngine(ABC):
    """A model behind a server; subclasses ask it, in `_answer`.

    `generate` may be called by several threads at once. An error that stops one call stops all
    calls, later ones too, until `resume`.

    Attributes:
        works_on: Whether the server goes on with the requests that it has, and charges for them,
            when the engine stops.
    """

    works_on: ClassVar[bool] = False

    def __init__(
        self, options: OpenAIOptions, answers: Storage | None = None, hold: Hold | None = None
    ) -> None:
        """Start the event loop; `load` makes the client.

        `answers` is the folder of the response store, and `hold` the run's hold on it. There the
        engine notes each call just before it sends the call.
        """
        self._options = options
        self._notes = None if answers is None else Notes(answers, hold)
        self._server = options.base_url or OPENAI_URL
        self._model = ""
        self._dialect = Dialect(options)
        self._outage = Outage(self._server, options.patience_s)
        self._stop: UserError | None = None
        self._stopped = asyncio.Event()
        self._learnt: list[str] = []
        self._num_odd = 0  # answers with impossible token counts
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def load(self, model: ModelRef) -> None:
        """Ask for this model from now on.

        Raises:
            UserError: There is no key, and the server wants one.
        """
        self._key = read_key(self._options)
        self._model = model.name
        self._run(self._connect())

    def resume(self) -> None:
        """Accept calls again: the user may have mended what stopped the engine."""
        self._run(self._resume())

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> Sequence[Completion | None]:
        """Answer a batch; None stands for a row that is still under way.

        Raises:
            EngineStoppedError: The server refuses to work at all, or was away too long. The calls
                of other threads end, too, and nothing more is sent.
        """
        answers, stop = self._run(self._batch(requests, sampling))
        if stop is not None:
            raise EngineStoppedError(str(stop), answers, self.works_on)
        return answers

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Refuse: servers of this kind do not score texts."""
        raise UserError("a server behind the openai engine cannot score texts: use transformers")

    def notice(self) -> str:
        """Return what is new: which fields the server refuses, and whether it is away."""
        learnt, self._learnt = self._learnt, []
        return "\n".join([*dict.fromkeys(learnt), *filter(None, [self._outage.notice()])])

    def close(self) -> None:
        """End the client, the loop and the journal."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if self._notes is not None:
            self._notes.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _connect(self) -> None:
        options = self._options
        limits = httpx2.Limits(
            max_connections=options.concurrency, max_keepalive_connections=options.concurrency
        )
        timeout = httpx2.Timeout(options.timeout_s, connect=min(_CONNECT_S, options.timeout_s))
        self._http = BoundedClient(options, limits, timeout)
        self._client = openai.AsyncOpenAI(
            base_url=self._server,
            api_key=self._key or _NO_KEY,
            max_retries=0,
            timeout=timeout,
            http_client=self._http,
        )

    async def _resume(self) -> None:
        self._stop = None
        self._stopped.clear()
        self._outage.resume()

    async def _batch(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> tuple[list[Completion | None], UserError | None]:
        """Return answers in order, and the error that leaves rows without an answer for good."""
        answers = await self._answer(requests, sampling)
        for request, answer in zip(requests, answers, strict=True):
            if self._notes is not None and answer is not None:
                self._notes.ended(request)
        return answers, self._stop if None in answers else None

    @abstractmethod
    async def _answer(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | None]:
        """Return answers in order; None for rows under way, and for all others after a stop."""

    async def _note(self, requests: Iterable[Request]) -> None:
        """Note durably that the calls of these requests are about to be sent.

        Raises:
            UserError: The disk does not take the notes.
        """
        if self._notes is not None:
            await self._notes.add(requests)

    def _count_odd(self, completion: Completion) -> None:
        """Tell the user of impossible token counts: at the first, the tenth, the hundredth."""
        if completion.odd_usage:
            self._num_odd += 1
            if str(self._num_odd).rstrip("0") == "1":
                self._learnt.append(
                    f"{self._server} gave impossible token counts with {self._num_odd:,} answers, "
                    f"such as {completion.odd_usage}: the ledger has estimates from the texts"
                )

    def _stop_all(self, error: UserError) -> None:
        """Stop sending; later errors do not replace the first."""
        self._stop = self._stop or error
        self._stopped.set()
        self._outage.wake()

    async def _pause(self, seconds: float) -> None:
        """Sleep until the time is over or the engine stops."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopped.wait()

    def _stopped_by(self, fault: Fault) -> str:
        """Return the message for a fault that stops the engine."""
        name = self._options.api_key_env
        text = f"{self._server} refuses to work: {fault}. "
        if fault.status in (401, 403):
            there = "is set" if self._key else "is not set"
            return f"{text}The key is read from {name}, which {there} on the machine that asked"
        if fault.status in (404, 405, 410):
            return f"{text}Check teacher.model ({self._model!r}), teacher.base_url and teacher.api"
        return f"{text}Once that is mended, the same command goes on from here"
