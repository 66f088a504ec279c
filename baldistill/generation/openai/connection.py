"""The connection of an engine to an OpenAI-compatible server: one client in one event loop.

All batches that the actor is given share one event loop in a thread of its own, one client, and
its view of the server. What stops one of them stops all.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

import httpx2
import numpy as np
import openai

from baldistill.answers.completion import Completion
from baldistill.config.engines import OpenAIOptions
from baldistill.errors import UserError
from baldistill.generation.engine import EngineStoppedError, OnEnded, ignore_ended
from baldistill.generation.model_ref import ModelRef
from baldistill.generation.openai.dialect import Dialect
from baldistill.generation.openai.faults import Fault
from baldistill.generation.openai.key import OPENAI_URL, read_key
from baldistill.generation.openai.outage import Outage
from baldistill.generation.types import Request, Sampling

T = TypeVar("T")

_CONNECT_S = 10.0
_NO_KEY = "none"  # the client wants one, also for servers that want none


class ServerEngine(ABC):
    """A model behind a server, however it is asked: `_answer` is what its subclasses add.

    `generate` may be called by several threads at once. What stops one of them stops all, until
    `resume`.

    Attributes:
        works_on: Whether the server goes on with what it was sent, and charges for it, when we
            stop.
    """

    works_on: ClassVar[bool] = False

    def __init__(self, options: OpenAIOptions) -> None:
        """Start the event loop; `load` makes the client."""
        self._options = options
        self._server = options.base_url or OPENAI_URL
        self._model = ""
        self._dialect = Dialect(options)
        self._outage = Outage(self._server, options.patience_s)
        self._stop: UserError | None = None
        self._stopped = asyncio.Event()
        self._learnt: list[str] = []
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
        """A new piece of work begins: the user may have mended what stopped the one before."""
        self._run(self._resume())

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> Sequence[Completion | None]:
        """Answer a batch; None stands for a row that goes on, and is to be asked for again.

        Raises:
            EngineStoppedError: The server refuses to work at all, or was away too long. The calls
                of other threads end too: nothing more is sent.
        """
        answers, stop = self._run(self._batch(requests, sampling))
        if stop is not None:
            raise EngineStoppedError(str(stop), answers, self.works_on)
        return answers

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """A server writes; it is no student.

        Raises:
            UserError: Always.
        """
        raise UserError("a server behind the openai engine cannot score texts: use transformers")

    def notice(self) -> str:
        """What is new: what the server does not take, and that nobody is answered."""
        learnt, self._learnt = self._learnt, []
        return "\n".join([*dict.fromkeys(learnt), *filter(None, [self._outage.notice()])])

    def close(self) -> None:
        """End the client and the loop."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _connect(self) -> None:
        options = self._options
        limits = httpx2.Limits(
            max_connections=options.concurrency, max_keepalive_connections=options.concurrency
        )
        timeout = httpx2.Timeout(options.timeout_s, connect=min(_CONNECT_S, options.timeout_s))
        self._client = openai.AsyncOpenAI(
            base_url=self._server,
            api_key=self._key or _NO_KEY,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(limits=limits, timeout=timeout),
        )

    async def _resume(self) -> None:
        self._stop = None
        self._stopped.clear()
        self._outage.resume()

    async def _batch(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> tuple[list[Completion | None], UserError | None]:
        """Answers in order, and the error because of which rows have none and never will."""
        answers = await self._answer(requests, sampling)
        return answers, self._stop if None in answers else None

    @abstractmethod
    async def _answer(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | None]:
        """Answers in order; None for rows that go on, or have none because all has to stop."""

    def _stop_all(self, error: UserError) -> None:
        """Let nothing more be sent; the first reason stands."""
        self._stop = self._stop or error
        self._stopped.set()
        self._outage.wake()

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not past a stop."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopped.wait()

    def _stopped_by(self, fault: Fault) -> str:
        """The message for a refusal of all requests."""
        name = self._options.api_key_env
        text = f"{self._server} refuses to work: {fault}. "
        if fault.status in (401, 403):
            there = "is set" if self._key else "is not set"
            return f"{text}The key is read from {name}, which {there} on the machine that asked"
        if fault.status in (404, 405, 410):
            return f"{text}Check teacher.model ({self._model!r}), teacher.base_url and teacher.api"
        return f"{text}Once that is mended, the same command goes on from here"
