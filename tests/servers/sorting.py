"""A server on loopback whose model sorts questions by a word of each.

A question with the word `odd` gets no domain at first, and one with `mute` never. Whatever else it
is asked is explained.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from servers.fault_server import FaultServer

_QUESTION = re.compile(r"<question>\n(.*)\n</question>", re.DOTALL)


@dataclass
class SortingServer(FaultServer):
    """Attributes: `domains` by the word that tells them; `sorted` counts requests by question."""

    domains: Mapping[str, str] = field(default_factory=dict)
    sorted: Counter[str] = field(default_factory=Counter)

    async def _play(
        self, step: str, prompt: str, chat: bool, body: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        assert chat
        asked = _QUESTION.search(prompt)
        text = self._sort(asked[1]) if asked else "By thinking.\nAnswer: 1"
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        answer = {"model": body["model"], "choices": [choice], "usage": usage}
        return 200, {}, json.dumps(answer).encode()

    def _sort(self, question: str) -> str:
        self.sorted[question] += 1
        if "mute" in question or ("odd" in question and self.sorted[question] == 1):
            return "It could be anything."
        found = next((d for word, d in self.domains.items() if word in question), None)
        return f"**{found.upper()}**." if found else "I do not know."
