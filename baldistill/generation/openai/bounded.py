"""The HTTP client below the `openai` client: whatever a server sends arrives bounded and plain.

A body is read piece by piece, counted as it is unpacked, and refused when it grows beyond its
limit, so 600 kB of gzip cannot become 600 MB. What the `openai` client then gets is a whole answer
with the few headers that are read, so no charset or coding that a server makes up reaches it.

Requests carry prompts and the key. So a redirect is followed on the same server alone.

A server may hang up after an answer without saying so. The next request on that connection is lost
on its way: of those that were certainly not sent, each is sent again as the same call.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import httpx2
import openai
from aiohttp.http_exceptions import HttpProcessingError

from baldistill.config.engines import OpenAIOptions
from baldistill.generation.openai.faults import MovedError, UnusableAnswerError

_LEAST_BYTES = 8 << 20  # that any answer may have
_TOKEN_BYTES = 256  # for each token: some 30 letters, each as an escape
_LOGPROB_BYTES = 4096  # with the log-probabilities of 20 others
_ROW_BYTES = 16 << 10  # of a row in a file of answers, beside its tokens
_SLOWEST = 64 << 10  # bytes a second, beyond timeout_s
_KEPT_HEADERS = frozenset({b"retry-after", b"retry-after-ms", b"x-request-id"})
_PLAIN = frozenset({"", "identity"})
_MOST_UNSENT = 8  # connections in a row that turn out to be closed
_UNSENT = "Cannot write to closing transport"  # aiohttp says so before it writes anything


class BoundedClient(openai.DefaultAioHttpClient):  # type: ignore[misc]
    """Sends requests; see the module.

    Attributes:
        most_bytes: Limit on an unpacked answer.
        most_file_bytes: Limit on the content of a file of the Batch API.
    """

    def __init__(self, options: OpenAIOptions, limits: httpx2.Limits, timeout: httpx2.Timeout):
        """Begin with limits for the shortest answers; `expect` raises them."""
        super().__init__(limits=limits, timeout=timeout, follow_redirects=False)
        self._seconds = options.timeout_s
        logprobs = options.logprobs or "logprobs" in options.extra_body
        self._token_bytes = _LOGPROB_BYTES if logprobs else _TOKEN_BYTES
        self._rows = options.batch_api.rows if options.batch_api else 0
        self._size = 0  # of the tokens of an answer
        self.expect(0)

    def expect(self, max_new_tokens: int, rows: int = 0) -> None:
        """Raise the limits to what answers of this length may need."""
        self._size = max(self._size, max_new_tokens * self._token_bytes)
        self._rows = max(self._rows, rows)
        self.most_bytes = _LEAST_BYTES + self._size
        self.most_file_bytes = _LEAST_BYTES + self._rows * (self._size + _ROW_BYTES)

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **_: Any
    ) -> httpx2.Response:
        """Send a request and return the whole answer.

        Raises:
            MovedError: The server sends the request on to another one.
            UnusableAnswerError: The answer is too long, or packed more than once.
            httpx2.RequestError: There is no answer, or no valid one.
        """
        for _turn in range(self.max_redirects + 1):
            response = await self._sent_answer(request)
            if response.next_request is None:
                return response
            target = response.next_request.url
            if not _same_server(request.url, target):
                raise MovedError(_origin(target))
            request = response.next_request
        raise httpx2.TooManyRedirects("the server redirects again and again", request=request)

    async def _sent_answer(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer; send the request again while it has certainly not been sent."""
        for _turn in range(_MOST_UNSENT):
            try:
                return await self._answer(request)
            except httpx2.ConnectError as error:
                if not _was_unsent(error):
                    raise
        return await self._answer(request)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        sent = int(request.headers.get("content-length", 0))
        try:
            async with asyncio.timeout(self._seconds + sent / _SLOWEST):
                response = await super().send(request, stream=True, follow_redirects=False)
            content = await self._content(request, response)
        except (aiohttp.ClientError, HttpProcessingError, ValueError, LookupError) as error:
            # no HTTP, which httpx2's transport over aiohttp passes on as it is
            raise httpx2.RemoteProtocolError(str(error), request=request) from error
        except httpx2.ConnectTimeout as error:
            if isinstance(error.__cause__, aiohttp.ClientConnectorError | TimeoutError):
                raise
            if _was_unsent(error):
                raise httpx2.ConnectError(_UNSENT, request=request) from error.__cause__
            # a connection that broke: the server may have got the request, and charge for it
            raise httpx2.ReadError(str(error), request=request) from error
        except TimeoutError:
            raise httpx2.ReadTimeout("no answer within timeout_s", request=request) from None
        kind = response.headers.get("content-type", "").partition(";")[0].strip()
        headers = [(name, value) for name, value in response.headers.raw if _is_kept(name)]
        headers.append((b"content-type", kind.encode("ascii", "replace")))
        plain = httpx2.Response(
            response.status_code, headers=headers, content=content, request=response.request
        )
        plain.next_request = response.next_request
        return plain

    async def _content(self, request: httpx2.Request, response: httpx2.Response) -> bytes:
        """Return the unpacked body."""
        most = self.most_file_bytes if request.url.path.endswith("/content") else self.most_bytes
        began, size = time.monotonic(), 0
        parts: list[bytes] = []
        try:
            codings = response.headers.get("content-encoding", "").split(",")
            if len([coding for coding in codings if coding.strip().lower() not in _PLAIN]) > 1:
                raise UnusableAnswerError("an answer that is packed more than once")
            async for part in response.aiter_bytes():
                size += len(part)
                if max(size, response.num_bytes_downloaded) > most:
                    raise UnusableAnswerError(f"an answer of more than {most:,} bytes")
                if time.monotonic() - began > self._seconds + size / _SLOWEST:
                    raise TimeoutError
                parts.append(part)
        finally:
            await response.aclose()
        return b"".join(parts)


def json_of(response: httpx2.Response) -> Any:
    """Return the JSON value that an answer holds.

    Raises:
        UnusableAnswerError: It holds none.
    """
    kind = response.headers.get("content-type", "")
    if not kind.endswith("json"):
        raise UnusableAnswerError(f"content of type {kind or 'unknown'!r} in the place of JSON")
    return json_value(response.content)


def json_value(content: bytes) -> Any:
    """Return the JSON value in some bytes.

    Raises:
        UnusableAnswerError: It is none, or nested too deeply.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnusableAnswerError(f"no valid JSON: {error}") from None


def _is_kept(header: bytes) -> bool:
    return header.lower() in _KEPT_HEADERS


def _was_unsent(error: BaseException) -> bool:
    """Return whether a request met a connection that was closed, before a byte was written."""
    cause = error.__cause__ and error.__cause__.__cause__
    return isinstance(cause, aiohttp.ClientConnectionResetError) and str(cause) == _UNSENT


def _same_server(url: httpx2.URL, target: httpx2.URL) -> bool:
    """Return whether a redirect stays on the server; from http it may turn to https."""
    if _origin(url) == _origin(target):
        return True
    ports = (url.port or 80, target.port or 443)
    return url.host == target.host and (url.scheme, target.scheme, *ports) == (
        "http", "https", 80, 443,
    )  # fmt: skip


def _origin(url: httpx2.URL) -> str:
    """Return scheme, host and port: httpx2 leaves out the scheme's own port."""
    port = "" if url.port is None else f":{url.port}"
    return f"{url.scheme}://{url.host}{port}"
