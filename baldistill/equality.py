r"""Equality of answers that ends: LaTeX is compared in a process with a limit of time and memory.

A computer algebra system may work for hours on a short text, such as `\binom{999999999}{499999}`,
and cannot be interrupted from a thread. So each process that compares LaTeX has a helper process,
which starts with the first LaTeX answer that equal texts and numbers do not decide. The limit is
processor time of the helper alone, so that a busy machine changes no result: an ordinary comparison
takes some 6 ms of 2 s. The kernel enforces it, and ends the helper; the next comparison starts
another one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from baldistill.core.answer_math import latex_equal
from baldistill.core.answers import AnyTask, equal

CPU_SECONDS = 2.0
NOT_COMPARED = f"not compared within {CPU_SECONDS:g} s"
"""Reason for which an answer that took too long to compare counts as different."""

_MEMORY_BYTES = 2**30
_SERVE = "import sys; from baldistill.equality import serve; serve(float(sys.argv[1]))"


class NotComparedError(Exception):
    """Two expressions were not compared within the limits."""


class LatexComparer:
    """Compares LaTeX in a helper process, one comparison at a time; for all threads.

    Attributes:
        cpu_seconds: Processor time that a comparison may take.
    """

    def __init__(self, cpu_seconds: float = CPU_SECONDS) -> None:
        self.cpu_seconds = cpu_seconds
        self._lock = threading.Lock()
        self._helper: subprocess.Popen[str] | None = None

    def equal(self, a: str, b: str) -> bool:
        """Return whether two expressions are equal.

        Raises:
            NotComparedError: That could not be found out within the limits.
            ModuleNotFoundError: math-verify is not installed.
        """
        if importlib.util.find_spec("math_verify") is None or not hasattr(signal, "setitimer"):
            return latex_equal(a, b)  # says what to install; on Windows: compares without limits
        with self._lock:
            for _ in range(2):  # one that somebody else ended is no reason to give up
                answer = self._ask(a, b)
                if isinstance(answer, bool):
                    return answer
                if answer == -signal.SIGPROF:
                    break
        raise NotComparedError(NOT_COMPARED)

    def _ask(self, a: str, b: str) -> bool | int:
        """Return the helper's reply, or the exit status (an int) of a helper that ended."""
        helper = self._helper = self._helper or _start(self.cpu_seconds)
        assert helper.stdin is not None
        assert helper.stdout is not None
        try:
            with suppress(BrokenPipeError):
                helper.stdin.write(json.dumps([a, b]) + "\n")
                helper.stdin.flush()
            if line := helper.stdout.readline():
                return bool(json.loads(line))
            self._helper = None
            return helper.wait()
        except BaseException:  # Ctrl-C: the next question must not get this one's reply
            self._helper = None
            helper.kill()
            helper.wait()
            raise

    def close(self) -> None:
        """End the helper; a later comparison starts another one."""
        with self._lock:
            if self._helper is not None:
                self._helper.communicate()
                self._helper = None


def same_answer(
    task: AnyTask,
    a: str | None,
    b: str | None,
    choices: Sequence[str] | None = None,
    question: str | None = None,
) -> bool | None:
    """Return whether two answers are the same, as `core.answers.equal`, within limited time.

    Returns:
        None if the answers could not be compared in `CPU_SECONDS`; they then count as different.
    """
    try:
        return equal(task, a, b, choices, question, latex_equal=_compare_latex)
    except NotComparedError:
        return None


def is_accepted(
    task: AnyTask,
    answer: str | None,
    accepted: Sequence[str],
    choices: Sequence[str] | None = None,
    question: str | None = None,
) -> bool | None:
    """Return whether an answer is the same as one of those that count.

    Returns:
        None if it is the same as none, and one of them could not be compared (`same_answer`).
    """
    found: bool | None = False
    for gold in accepted:
        same = same_answer(task, answer, gold, choices, question)
        if same:
            return True
        found = None if same is None else found
    return found


def serve(cpu_seconds: float) -> None:
    """Work as a helper: read pairs as lines of JSON, write whether they are equal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # what a library prints is no reply
    _limit_memory()
    latex_equal(r"\sqrt{8}", r"2\sqrt{2}")  # imports all that a comparison needs
    for line in sys.stdin:
        a, b = json.loads(line)
        # Without a handler the kernel ends the process, also in the middle of a long product.
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        same = latex_equal(a, b)
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(json.dumps(same) + "\n")
        replies.flush()


_comparer = LatexComparer()


@lru_cache(maxsize=4096)
def _decide(a: str, b: str) -> bool | None:
    try:
        return _comparer.equal(a, b)
    except NotComparedError:
        return None


def _compare_latex(a: str, b: str) -> bool:
    same = _decide(a, b)
    if same is None:
        raise NotComparedError(NOT_COMPARED)
    return same


def _start(cpu_seconds: float) -> subprocess.Popen[str]:
    """Start a helper that imports what this process would; it ends with this process."""
    package = str(Path(__file__).resolve().parent.parent)
    paths = [package, *(path for path in sys.path if path)]
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVE, str(cpu_seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _limit_memory() -> None:
    import resource

    with suppress(ValueError, OSError):  # a stricter limit is in force, or the system has none
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
