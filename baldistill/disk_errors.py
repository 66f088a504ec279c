"""Explain the error of a disk or a path to the person who can mend it.

Python, pyarrow, Rust libraries and Ray each report a full disk in their own way: with or without
the system's number of the error, with or without the file, and wrapped in errors of theirs.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

_REMEDIES = {
    errno.ENOSPC: "the disk is full: make room on it, or use a folder on another one",
    errno.EDQUOT: "your share of the disk is used up: make room, or use a folder on another disk",
    errno.EFBIG: "the file is larger than the disk, or `ulimit -f`, allows: use another folder",
    errno.EROFS: "the disk can only be read: use a folder on another one",
    errno.EACCES: "you have no permission for that: change it, or use a folder of your own",
    errno.EPERM: "you have no permission for that: change it, or use a folder of your own",
    errno.EIO: "the disk fails: look at the system's log, and use a folder on another one",
    errno.ESTALE: "the mounted disk has gone away: mount it again",
    errno.ENOTDIR: "a file stands where a folder is needed: remove it, or use another folder",
    errno.EEXIST: "a file stands where a folder is needed: remove it, or use another folder",
    errno.EISDIR: "a folder stands where a file is needed: remove it, or use another folder",
    errno.ELOOP: "it is a link to itself: remove it",
    errno.ENAMETOOLONG: "the name is too long for the disk: use a shorter one",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
}
_SAID = re.compile(
    "|".join(
        f"(?P<e{number}>{re.escape(os.strerror(number))})"
        for number in _REMEDIES
        if number not in (errno.EEXIST, errno.EPERM)  # common words of other errors, too
    ),
    re.IGNORECASE,
)
_LAST_LINE = re.compile(r"(?:\w+\.)*(?:OS|File\w*|\w*Directory|Permission|Safetensor)Error: ")
_QUOTED = re.compile(r"""(["'])(?P<name>[^"']*/[^"']*)\1""")


def disk_problem(error: BaseException) -> str | None:
    """Return what is wrong with a disk or a path, where, and the remedy.

    Returns:
        None if neither the error nor what caused it comes from a disk.
    """
    for cause in _causes(error):
        text = _told(cause)
        number = cause.errno if isinstance(cause, OSError) else None
        if number not in _REMEDIES:
            if not (said := _SAID.search(text)):
                continue
            number = int(str(said.lastgroup)[1:])
        file = getattr(cause, "filename", None) or _name_in(text)
        place = f"{file}: " if file else ""
        detail = "" if file else f" ({text.splitlines()[0]})"
        return f"{place}{_REMEDIES[number]}{detail}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, by Python or by Ray; innermost last.

    An error in the handling of another is a defect of ours, whatever the other was.
    """
    pending, seen = [error], set()
    while pending:
        found = pending.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = [found.__cause__, getattr(found, "cause", None)]  # the latter of a RayTaskError
        inner += getattr(found, "worker_failures", {}).values()  # of Ray Train
        pending += [item for item in inner if isinstance(item, BaseException)]


def _told(error: BaseException) -> str:
    """Return what an error of reading and writing says; nothing for any other error.

    The cause of an error in another process may not travel; the text of the traceback does.
    """
    if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
        return str(error)
    if not type(error).__name__.startswith("RayTaskError"):
        return ""
    told = [line for line in str(error).splitlines() if _LAST_LINE.match(line)]
    return told[-1] if told else ""


def _name_in(text: str) -> str | None:
    found = _QUOTED.search(text)
    return found["name"] if found else None
