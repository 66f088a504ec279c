"""Hostile HTTP answers, for `FaultServer`: what a broken, strange or malicious server may send.

Each is a whole raw answer made from a good one, so that odd figures, odd text and odd HTTP can hit
any request of any run. A prompt asks for one by its name, `<raw:usage_nan> What is ...`;
`FaultServer(hostile_share=0.3)` gives them to a share of all requests.

    for name in ANSWERS: ...             # every name
    ANSWERS[name].keeps_text             # the good text is in it, so a client may take the answer
    ANSWERS[name].may_stop               # a client may stop working, and say why
    ANSWERS[name].make(good, "Bearer k") # the bytes; `good` is the completion as a dictionary
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

Good = dict[str, Any]
"""The fields of a good completion: `choices` and `usage`."""

BOMB_BYTES = 600 << 20  # what the compressed bodies of some hundred kilobytes unpack to
ELSEWHERE = "http://127.0.0.2:9/v1/elsewhere"  # where redirects to another host point


@dataclass(frozen=True, slots=True)
class Hostile:
    """One hostile answer.

    Attributes:
        make: Makes the raw answer from a good completion and the request's Authorization header.
        keeps_text: The text of the good completion is in it, whole.
        may_stop: It says something that holds for all requests, so a client may stop.
        repeat: Sent again and again, after what `make` returns, until the client hangs up.
        every: Seconds between two of these.
    """

    make: Callable[[Good, str], bytes]
    keeps_text: bool = False
    may_stop: bool = False
    repeat: bytes = b""
    every: float = 0.0


def http(body: bytes, status: int = 200, head: str = "", kind: str = "application/json") -> bytes:
    """Return a whole answer; `head` holds further header lines, each with its line end."""
    fields = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n{head}"
    return f"HTTP/1.1 {status} X\r\n{fields}\r\n".encode("latin-1") + body


def _json(fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _usage(text: str) -> Hostile:
    """Replace the usage by a JSON text."""

    def make(good: Good, _: str) -> bytes:
        fields = _json({**good, "usage": "USAGE"})
        return http(fields.replace(b'"USAGE"', text.encode()))

    return Hostile(make, keeps_text=True)


def _counts(value: str) -> Hostile:
    """Replace both counts by a JSON value."""
    return _usage(f'{{"prompt_tokens": {value}, "completion_tokens": {value}}}')


def _choice(keeps_text: bool = False, **fields: Any) -> Hostile:
    """Replace fields of the choice."""

    def make(good: Good, _: str) -> bytes:
        return http(_json({**good, "choices": [{**good["choices"][0], **fields}]}))

    return Hostile(make, keeps_text)


def _content(value: Any) -> Hostile:
    """Replace the text by any value."""

    def make(good: Good, _: str) -> bytes:
        choice = dict(good["choices"][0])
        if "message" in choice:
            choice["message"] = {**choice["message"], "content": value}
        else:
            choice["text"] = value
        return http(_json({**good, "choices": [choice]}))

    return Hostile(make)


def _choices(value: Any) -> Hostile:
    return Hostile(lambda good, _: http(_json({**good, "choices": value})))


def _body(body: bytes, kind: str = "application/json") -> Hostile:
    return Hostile(lambda *_: http(body, kind=kind))


def _raw(answer: bytes) -> Hostile:
    return Hostile(lambda *_: answer)


def _refused(
    status: int, body: Any, head: str = "", kind: str = "application/json", may_stop: bool = False
) -> Hostile:
    content = body if isinstance(body, bytes) else _json(body)
    return Hostile(lambda *_: http(content, status, head, kind), may_stop=may_stop)


def moved(location: str, status: int = 307) -> Hostile:
    """Redirect to a URL."""
    return Hostile(lambda *_: http(b"", status, f"location: {location}\r\n"), may_stop=True)


def _coded(coding: str, code: Callable[[bytes], bytes], keeps_text: bool = False) -> Hostile:
    """Send the good body through a function, under a content coding."""

    def make(good: Good, _: str) -> bytes:
        return http(code(_json(good)), head=f"content-encoding: {coding}\r\n")

    return Hostile(make, keeps_text)


def _echo(
    make: Callable[[Good, str], Good],
    status: int = 200,
    keeps_text: bool = False,
    may_stop: bool = False,
) -> Hostile:
    """Say the key that came with the request."""
    return Hostile(lambda good, sent: http(_json(make(good, sent)), status), keeps_text, may_stop)


def _with_message(good: Good, **message: Any) -> Good:
    """Return the completion as a chat whose message has these fields."""
    return {**good, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}


def _said(good: Good) -> str:
    choice = good["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


@cache
def _bomb(wbits: int) -> bytes:
    """Return some compressed spaces; each further piece is as long as the first, and never ends."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    piece = b" " * (1 << 20)
    start, *pieces = (packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return start + pieces[0] * ((BOMB_BYTES >> 20) - 1)


def _chunked(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + body


_DEEP = b"[" * 100_000 + b"]" * 100_000
_NESTED = b'{"choices": [' * 300 + b"1" + b"]}" * 300

USAGE = {
    "usage_text": _usage('"a lot"'),
    "usage_list": _usage("[1, 2]"),
    "usage_number": _usage("7"),
    "usage_true": _usage("true"),
    "usage_missing": _usage("null"),
    "usage_negative": _counts("-5"),
    "usage_very_negative": _counts("-1e300"),
    "usage_nan": _counts("NaN"),
    "usage_infinite": _counts("Infinity"),
    "usage_minus_infinite": _counts("-1e999"),
    "usage_huge": _counts("1" + "0" * 30),
    "usage_huge_float": _counts("1e308"),
    "usage_over_64_bits": _counts(str(2**63)),
    "usage_fraction": _counts("12.5"),
    "usage_digits": _counts('"12"'),
    "usage_bool": _counts("true"),
    "usage_counts_list": _counts("[3]"),
    "usage_counts_object": _counts('{"n": 3}'),
}

TEXTS = {
    "text_lone_surrogate": _content("half a \ud83d pair \udc00"),
    "text_nul": _content("a\x00b"),
    "text_line_ends": _content("a\u2028b\u0085c\x1b[31md"),
    "text_number": _content(3),
    "text_bool": _content(True),
    "text_list": _content(["Answer: 3"]),
    "text_object": _content({"text": "Answer: 3"}),
    "text_empty": _content(""),
    "text_very_long": _content("la " * 400_000),
}

CHOICES = {
    "choices_missing": Hostile(lambda good, _: http(_json({"usage": good["usage"]}))),
    "choices_object": _choices({"0": {"text": "x"}}),
    "choices_text": _choices("Answer: 3"),
    "choices_null": _choices([None]),
    "choices_nested": _choices([[{"text": "x"}]]),
    "choices_number": _choices([3]),
    "message_text": _choice(message="Answer: 3"),
    "message_list": _choice(message=["Answer: 3"]),
    "message_refusal_object": _choice(message={"content": None, "refusal": {"why": [1]}}),
    "finish_list": _choice(finish_reason=["stop"]),
    "finish_object": _choice(finish_reason={"type": "stop"}),
    "finish_number": _choice(finish_reason=-1),
    "finish_long": _choice(finish_reason="stop" * 5000),
    "logprobs_text": _choice(logprobs="none", keeps_text=True),
    "logprobs_numbers": _choice(logprobs={"content": [1, 2]}),
    "logprobs_texts": _choice(logprobs={"content": [{"token": "a", "logprob": "b"}]}),
    "logprobs_uneven": _choice(logprobs={"tokens": ["a"], "token_logprobs": [0.1, 0.2]}),
    "logprobs_token_number": _choice(logprobs={"tokens": [1], "token_logprobs": [-0.1]}),
    "logprobs_token_list": _choice(logprobs={"content": [{"token": [], "logprob": [[1], 2]}]}),
}

BODIES = {
    "body_empty": _body(b""),
    "body_null": _body(b"null"),
    "body_number": _body(b"3"),
    "body_text": _body(b'"Answer: 3"'),
    "body_list": _body(b"[]"),
    "body_deep": _body(_DEEP),
    "body_nested": _body(_NESTED),
    "body_cut": _body(b'{"choices": [{"text": "half an an'),
    "body_two": _body(b'{"choices": []}{"choices": []}'),
    "body_many_digits": _body(b'{"choices": ' + b"9" * 6000 + b"}"),
    "body_noise": _body(bytes(range(256)) * 20),
    "body_latin1": _body('{"choices": [{"text": "é"}]}'.encode("latin-1")),
    "body_utf16": Hostile(lambda good, _: http(json.dumps(good).encode("utf-16"))),
    "body_same_key_twice": Hostile(
        lambda good, _: http(b'{"choices": 3, "choices": [' + _json(good["choices"][0]) + b"]}"),
        keeps_text=True,
    ),
    "body_events": _body(b'data: {"choices": []}\n\n', kind="text/event-stream"),
    "body_html": _body(b"<html>Welcome to the proxy</html>", kind="text/html"),
    "charset_rot13": Hostile(
        lambda good, _: http(_json(good), kind="application/json; charset=rot13"), keeps_text=True
    ),
    "charset_unknown": Hostile(
        lambda good, _: http(_json(good), kind='application/json; charset="\xff"'),
        keeps_text=True,
    ),
}

HTTP = {
    "http_nothing": _raw(b""),
    "http_noise": _raw(b"\x00\xff\xfe not HTTP at all\r\n\r\n"),
    "http_status_999": _raw(b"HTTP/1.1 999 X\r\ncontent-length: 2\r\n\r\n{}"),
    "http_status_text": _raw(b"HTTP/1.1 fine OK\r\ncontent-length: 2\r\n\r\n{}"),
    "http_204": _raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "http_304": _raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "http_101": _raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n{}"),
    "http_long_header": _raw(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000 + b"\r\n\r\n{}"),
    "http_many_headers": _raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000 + b"\r\n{}"),
    "http_odd_header": _raw(b"HTTP/1.1 200 OK\r\nx y\x00z\r\ncontent-length: 2\r\n\r\n{}"),
    "http_body_longer": Hostile(lambda good, _: http(_json(good)) + b"and more" * 100),
    "http_body_shorter": _raw(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{"),
    "http_negative_length": _raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}"),
    "http_length_text": _raw(b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}"),
    "http_two_lengths": _raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 9\r\n\r\n{}"
    ),
    "http_no_length": Hostile(
        lambda good, _: b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + _json(good),
        keeps_text=True,
    ),
    "http_chunk_size_text": _raw(_chunked(b"zz\r\n{}\r\n0\r\n\r\n")),
    "http_chunk_size_huge": _raw(_chunked(b"f" * 20 + b"\r\n{}")),
    "http_chunks_cut": _raw(_chunked(b"2\r\n{}\r\n")),
    "http_endless": Hostile(lambda *_: _chunked(b""), repeat=b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "http_endless_error": Hostile(
        lambda *_: b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n",
        repeat=b"10000\r\n" + b" " * 65536 + b"\r\n",
    ),
    "http_drip": Hostile(lambda *_: _chunked(b""), repeat=b"1\r\n \r\n", every=0.05),
}

CODINGS = {
    "gzip_bomb": _coded("gzip", lambda _: _bomb(31)),
    "deflate_bomb": _coded("deflate", lambda _: _bomb(15)),
    "gzip_noise": _coded("gzip", lambda body: body),
    "gzip_cut": _coded("gzip", lambda body: gzip.compress(body)[:-20]),
    "gzip_twice": _coded("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    "gzip_many_times": _coded(", ".join(["gzip"] * 40), gzip.compress),
    "gzip_and_rest": _coded("gzip", lambda body: gzip.compress(body) + b"rest"),
    "deflate_noise": _coded("deflate", lambda body: b"\xff\xff" + body),
    "br_noise": _coded("br", lambda body: b"\xff" * 50 + body),
    "zstd_noise": _coded("zstd", lambda body: b"\xff" * 50 + body),
    "coding_unknown": _coded("x-strange", lambda body: b"\xff" + body),
}

ERRORS = {
    "error_403_metadata_list": _refused(
        403, {"error": {"message": "no", "metadata": [["reasons"], 1]}}, may_stop=True
    ),
    "error_403_metadata_number": _refused(
        403, {"error": {"message": "no", "metadata": 3}}, may_stop=True
    ),
    "error_400_null": _refused(400, None),
    "error_400_number": _refused(400, 3),
    "error_400_list": _refused(400, [1, {"message": "no"}]),
    "error_400_text": _refused(400, {"error": "no"}),
    "error_400_list_of_errors": _refused(400, {"error": [{"message": "no"}]}),
    "error_400_message_object": _refused(400, {"error": {"message": {"a": [1]}, "param": [1]}}),
    "error_400_deep": _refused(400, _DEEP),
    "error_400_surrogate": _refused(400, {"error": {"message": "a\ud800\x1b[31m\u2028"}}),
    "error_400_code_object": _refused(400, {"error": {"message": "m", "code": {}, "type": []}}),
    "error_422_field_of_ours": _refused(422, {"error": {"message": "unknown", "param": "model"}}),
    "error_500_long": _refused(500, {"error": {"message": "no " * 1_000_000}}),
    "error_500_noise": _refused(500, bytes(range(256)), kind="text/plain; charset=rot13"),
    "error_500_idna": _refused(500, b"\xff\xfe", kind="text/plain; charset=idna"),
    "error_418": _refused(418, {"error": {"message": "teapot"}}),
    "retry_after_nan": _refused(429, {}, "retry-after: nan\r\n"),
    "retry_after_negative": _refused(429, {}, "retry-after: -5\r\n"),
    "retry_after_infinite": _refused(429, {}, "retry-after: 1e309\r\n"),
    "retry_after_ms_noise": _refused(429, {}, "retry-after-ms: \xff\xfe\r\n"),
    "retry_after_9999": _refused(
        429, {}, "retry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\n", may_stop=True
    ),
    "retry_after_year_1": _refused(429, {}, "retry-after: Mon, 01 Jan 0001 00:00:00 -0000\r\n"),
    "error_500_retry_later": _refused(500, {}, "retry-after: 1e12\r\n"),
    "retry_after_bad_zone": _refused(429, {}, "retry-after: 1 Jan 2020 00:00:00 +9999\r\n"),
}

MOVES = {
    "moved_elsewhere": moved(ELSEWHERE),
    "moved_elsewhere_301": moved(ELSEWHERE, 301),
    "moved_elsewhere_by_slashes": moved("//127.0.0.2:9/v1"),
    "moved_to_a_file": moved("file:///etc/passwd"),
    "moved_to_noise": moved("http://[\xff"),
    "moved_to_nothing": _refused(302, b"", may_stop=True),
    "moved_in_a_circle": moved("chat/completions"),
    "moved_to_nowhere": moved("/v1/no/such/path"),
}

ECHOES = {
    "key_in_text": _echo(
        lambda good, sent: _with_message(good, content=f"{_said(good)} {sent}"), keeps_text=True
    ),
    "key_in_refusal": _echo(
        lambda good, sent: _with_message(good, content=None, refusal=f"No. {'x' * 190} {sent}")
    ),
    "key_in_finish_reason": _echo(
        lambda good, sent: {**good, "choices": [{"finish_reason": "x" * 170 + sent, "text": ""}]}
    ),
    "key_in_no_choice": _echo(lambda _, sent: {"choices": [], "you sent": "x" * 150 + sent}),
    "key_in_error": _echo(
        lambda _, sent: {"error": {"message": "x" * 290 + sent, "param": sent}}, 400
    ),
    "key_in_401": _echo(
        lambda _, sent: {"error": {"message": f"bad key {sent}"}}, 401, may_stop=True
    ),
    "key_in_header": Hostile(
        lambda _, sent: http(b"", 500, f"x-you-sent: {sent}\r\n", kind=f"text/{sent}")
    ),
    "key_in_location": Hostile(
        lambda _, sent: http(b"", 307, f"location: http://127.0.0.2:9/{sent[7:]}\r\n"),
        may_stop=True,
    ),
}

ANSWERS: dict[str, Hostile] = {
    **USAGE, **TEXTS, **CHOICES, **BODIES, **HTTP, **CODINGS, **ERRORS, **MOVES, **ECHOES,
}  # fmt: skip
"""Every hostile answer by its name."""
