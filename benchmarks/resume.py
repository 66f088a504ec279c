"""SIGKILL at half of 2,000 requests, then the same command again: what is sent twice, what lost.

    python benchmarks/resume.py [--quick] [--prompts 2000] [--concurrency 64] [--spread 1.6]

Answers take between 0.2 s and `--spread` more, as those of a real teacher do: so it shows, too,
whether an answer that has come waits for another.
The loopback server is a process of its own and counts by prompt. A request that was in flight at
the kill is sent again by anyone's rules. Those sent twice are counted, by whether the server had
answered when the kill came: an answer that had come may not have been on a disk. The reference
begins again from nothing, which is what a loop without a store does; `--peers` puts
bespokelabs-curator and distilabel through the same kill (see peers.py).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from loopback import SAMPLING, connect, counts, prompt, questions, server, teacher
from peers import SCRIPTS, start_peer
from teacher_http import BARE

from baldistill.answers.store import ResponseStore
from baldistill.storage import Storage

_LATENCY = 0.2  # seconds of the fastest answers
_GONE = 2.0  # seconds without a new request: all processes of the killed run are gone
_LIMIT = 300.0  # seconds for a run that was started again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 prompts")
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--spread", type=float, default=1.6, help="seconds")
    parser.add_argument("--peers", nargs="*", choices=SCRIPTS, help="these, too; without names all")
    parser.add_argument("--run", nargs=2, metavar=("FOLDER", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    number = 500 if arguments.quick else arguments.prompts
    concurrency = arguments.concurrency
    if arguments.run:
        folder, url = arguments.run
        ask(folder, url, number, concurrency)
        return

    def ours(folder: str, url: str) -> subprocess.Popen[str]:
        options = ["--run", folder, url, "--prompts", str(number)]
        command = [sys.executable, __file__, *options, "--concurrency", str(concurrency)]
        return subprocess.Popen(command, start_new_session=True, text=True)

    def bare(folder: str, url: str) -> subprocess.Popen[str]:
        asked = Path(folder) / "prompts.json"
        asked.write_text(json.dumps([prompt(i) for i in range(number)]))
        command = [sys.executable, "-c", BARE, url, str(concurrency)]
        return subprocess.Popen(
            command, stdin=asked.open(), stdout=subprocess.DEVNULL, start_new_session=True,
            text=True,
        )  # fmt: skip

    spread = arguments.spread
    result = killed_at_half(ours, number, spread, stored_answers)
    print(f"ours: {result}", file=sys.stderr, flush=True)
    reference = killed_at_half(bare, number, spread)
    print(f"from the beginning again: {reference}", file=sys.stderr, flush=True)
    peers = {}
    for name in () if arguments.peers is None else arguments.peers or SCRIPTS:

        def peer(folder: str, url: str, name: str = name) -> subprocess.Popen[str]:
            return start_peer(name, number, concurrency, url, folder)

        peers[name] = killed_at_half(peer, number, spread)
        print(f"{name}: {peers[name]}", file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "name": "resume",
                "ours": result["sent_twice"],
                "reference": reference["sent_twice"],
                "ratio": (result["sent_twice"] or 0) / (reference["sent_twice"] or 1),
                "unit": "requests sent twice",
                "what": f"SIGKILL at half of {number} requests ({_LATENCY:g} to "
                f"{_LATENCY + spread:g} s each, concurrency "
                f"{concurrency}) and the same command again; the reference begins from nothing",
                "details": result,
                **({"peers": peers} if peers else {}),
            }
        )
    )


def ask(folder: str, url: str, number: int, concurrency: int) -> None:
    """Begin a run, or begin it again in its folder."""
    connect()
    with teacher(Path(folder) / "run", url, concurrency=concurrency) as asked:
        answers = asked.ask(questions(number), SAMPLING, stage=1)
    assert [answer.outcome for answer in answers] == ["answered"] * number


def stored_answers(folder: str) -> int:
    """Count the answers that the killed run had made durable."""
    store = ResponseStore(Storage.open(Path(folder) / "run" / "store"))
    return len(store.index(store.segments()))


def killed_at_half(
    start: Callable[[str, str], subprocess.Popen[str]],
    number: int,
    spread: float,
    stored: Callable[[str], int] | None = None,
) -> dict[str, float | None]:
    """Kill a run when half of its requests are answered, start it again, and count."""
    with (
        tempfile.TemporaryDirectory(prefix="resume-", ignore_cleanup_errors=True) as folder,
        server(_LATENCY, spread=spread) as url,
    ):
        process = start(folder, url)
        while sum(counts(url)["answered"].values()) < number // 2:
            if process.poll() is not None:
                raise RuntimeError("it ended before it was killed")
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        at_kill = counts(url)
        process.wait()
        with_group_gone(process.pid)
        before = quiet(url)
        kept = stored(folder) if stored is not None else None
        process = start(folder, url)
        try:
            complete = process.wait(_LIMIT) == 0
        except subprocess.TimeoutExpired:
            complete = False
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        after = counts(url)
    again = {
        name for name, times in after["received"].items()
        if times > before["received"].get(name, 0) > 0
    }  # fmt: skip
    second = sum(after["received"].values()) - sum(before["received"].values())
    flying = {n for n in again if not at_kill["answered"].get(n)}
    return {
        "complete": complete,
        "answered_at_kill": len(at_kill["answered"]),
        "stored_at_kill": kept,
        "stored_and_sent_twice": None if kept is None else second - (number - kept),
        "sent_twice": len(again),
        "of_these_not_answered_at_kill": len(flying),
        "of_these_answered_but_on_their_way": len(again - flying),
        "lost": number - sum(prompt(i) in after["answered"] for i in range(number)),
    }


def with_group_gone(group: int) -> None:
    """End what the killed process left behind, as a machine that crashes does."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def quiet(url: str) -> dict[str, dict[str, int]]:
    """Return the counts once no more requests come."""
    seen = counts(url)
    while True:
        time.sleep(_GONE)
        now = counts(url)
        if now["received"] == seen["received"]:
            return now
        seen = now


if __name__ == "__main__":
    main()
