"""A teacher behind HTTP that is right five times in six, and writes down each request it gets."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from servers.fault_server import FaultServer, hostile

from fault_matrix.history import Call, Outcome

Response = tuple[int, dict[str, str], bytes]
Reply = Response | str
"""Status, headers and body; or the name of an answer in `servers.hostile`."""

_GOLD = re.compile(r"^Gold answer: (.*)$", re.MULTILINE)
_AWAY = frozenset({429, 502, 503, 504, 529})


def key_of(request_id: str) -> str:
    """Return the seed that a request carries, which names its question on the server's side."""
    return str(int(request_id[:15], 16) & 0x7FFFFFFF)


@dataclass
class Witness(FaultServer):
    """The server, and what it saw.

    Attributes:
        life: Written into each call; raise it when the run is killed.
        calls: In the order in which they came.
        bad_replies: Replies that the next questions get at their first requests.
        holds_at: Calls after which it answers nothing until this is raised.
    """

    life: int = 0
    calls: list[Call] = field(default_factory=list)
    bad_replies: deque[Reply] = field(default_factory=deque)
    holds_at: int | None = None
    num_bad: int = 0
    _asked: set[str] = field(default_factory=set)

    def be_hostile(self, replies: Iterable[Reply]) -> None:
        """Give each of the next new questions one of these replies first."""
        self.bad_replies.extend(replies)

    async def answer(self, path: str, headers: dict[str, str], content: bytes) -> Reply:
        """Answer a request and write it down; it counts as failed if its client leaves before."""
        if not path.endswith("/completions"):
            return 404, {}, b"{}"
        body = json.loads(content)
        turns = body.get("messages", [{"content": body.get("prompt")}])
        if not turns:  # so curator asks for a server's limits
            return 400, {}, b'{"error": {"message": "Empty input messages"}}'
        prompt = str(turns[-1]["content"])
        call = Call(str(body.get("seed", zlib.crc32(prompt.encode()))), self.life)
        self.calls.append(call)
        while self.holds_at is not None and len(self.calls) > self.holds_at:
            await asyncio.sleep(0.02)
        await asyncio.sleep(self.latency + self.spread * (int(call.key) % 1000) / 1000)
        self.authorization = headers.get("authorization", "")
        is_new = call.key not in self._asked
        self._asked.add(call.key)
        value = completion(prompt, call.key)
        if self.bad_replies and is_new:
            self.num_bad += 1
            reply = self.bad_replies.popleft()
            call.outcome = _outcome(reply)
            return hostile(reply, value) if isinstance(reply, str) else reply
        call.outcome, call.tokens = "served", value["usage"]["total_tokens"]
        return 200, {}, json.dumps(value).encode()


def completion(prompt: str, key: str) -> dict[str, Any]:
    """Return what the teacher answers: a wrong conclusion to one question in six."""
    gold = _GOLD.search(prompt)
    mark = zlib.crc32(key.encode())
    if gold is not None:
        answer = gold[1] if mark % 6 else f"no {gold[1]}"
        text = f"Because {mark:x} is what it is.\nAnswer: {answer}"
    else:
        words = " ".join(f"{zlib.crc32(f'{key} {i}'.encode()):x}" for i in range(8))
        text = f"What comes after {words}?\nIt is {mark}.\nAnswer: {mark % 100}"
    read, written = len(prompt.split()), len(text.split())
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    message = {"role": "assistant", "content": text}  # in a chat; `text` is of /completions
    choice = {"index": 0, "text": text, "message": message, "finish_reason": "stop"}
    return {"id": "x", "object": "x", "model": "m", "choices": [choice], "usage": usage}


def _outcome(reply: Reply) -> Outcome:
    """Say whether the server may charge for a bad reply, if that can be known."""
    if isinstance(reply, str):
        return "unknown"
    if reply[0] < 400 or (reply[0] >= 500 and reply[0] not in _AWAY):
        return "failed"
    return "refused" if reply[0] in _AWAY else "rejected"
