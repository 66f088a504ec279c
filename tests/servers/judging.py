"""A server on loopback whose model teaches and judges texts, as their first word says.

A text is `good`, `poor`, `odd` (the first verdict about it cannot be read) or `mad` (none can).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from servers.fault_server import FaultServer

_JUDGED = re.compile(r"<answer>\n(.*)\n</answer>", re.DOTALL)
_KIND = re.compile(r"\b(good|poor|odd|mad)\b")


@dataclass
class JudgingServer(FaultServer):
    """Attributes: `judged` and `taught` count requests by prompt."""

    judged: Counter[str] = field(default_factory=Counter)
    taught: Counter[str] = field(default_factory=Counter)

    async def _play(
        self, step: str, prompt: str, chat: bool, body: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        assert chat
        judged = _JUDGED.search(prompt)
        text = self._verdict(prompt, judged[1]) if judged else self._lesson(prompt)
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        answer = {"model": body["model"], "choices": [choice], "usage": usage}
        return 200, {}, json.dumps(answer).encode()

    def _verdict(self, prompt: str, text: str) -> str:
        self.judged[prompt] += 1
        kind = _KIND.search(text)
        match kind and kind[1]:
            case "good":
                return '{"reason": "It says "good".", "score": 5}'
            case "mad":
                return "Who am I to judge?"
            case "odd" if self.judged[prompt] == 1:
                return '{"reason": "Odd."}'
            case "odd":
                return "Odd, but true.\nScore: 4"
        return '{"reason": "No.", "score": 1}'

    def _lesson(self, prompt: str) -> str:
        self.taught[prompt] += 1
        kind = _KIND.search(prompt)
        assert kind
        return f"Thinking of it.\nAnswer: {kind[1]} text\nof two lines"
