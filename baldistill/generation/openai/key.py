"""The key of an OpenAI-compatible server, which comes from the environment alone."""

from __future__ import annotations

import os

from baldistill.config.engines import OpenAIOptions
from baldistill.errors import UserError

OPENAI_URL = "https://api.openai.com/v1"


def read_key(options: OpenAIOptions) -> str:
    """Return the key, on the machine that will talk to the server; empty if there is none.

    Raises:
        UserError: The server wants a key and there is none, or the text cannot be a key.
    """
    name = options.api_key_env
    key = os.environ.get(name, "").strip()
    if not key and options.base_url is None:
        raise UserError(
            f"there is no {name} in the environment of the machine that talks to "
            f"{OPENAI_URL}. Set it where Ray is started on every node, or on this machine "
            "before baldistill starts Ray; it is not sent along with the job, because Ray "
            "would keep it in its records. For a server of your own set teacher.base_url"
        )
    if not key.isascii() or not key.isprintable():
        raise UserError(f"the key in {name} has letters that no key has: set it again")
    return key


def check_key(options: OpenAIOptions) -> None:
    """Raise what `read_key` raises; the key stays on the machine that will talk to the server."""
    read_key(options)
