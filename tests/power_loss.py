"""A model of a disk that loses its power: which states of a folder each moment may leave.

POSIX promises little: the content of a file is on the disk after an fsync of the file, and a name
(created, renamed or removed) after an fsync of its folder. All else may or may not be there:
a file without fsync may have 0 bytes, and a folder may hold its names of now or of its last
fsync. `Disk` looks at the folder before and after each fsync and rename of this process. It sees
what other writers (Arrow's C++ code, other processes) have done meanwhile, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

State: TypeAlias = frozenset[tuple[str, bytes]]
"""All files of a folder, with their contents."""


@dataclass(frozen=True)
class Moment:
    """What readers see at a moment, and what a loss of power then may leave."""

    live: State
    left: frozenset[State]


@dataclass
class Disk:
    """Records a folder while `recording`; nodes (files and folders) are known by their inode.

    Attributes:
        contents: Node of a file -> its content at its last fsync.
        names: Node of a folder -> its names and their nodes at its last fsync.
    """

    root: Path
    moments: list[Moment] = field(default_factory=list)
    contents: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    _seen: dict[int, int] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Look at the disk around each operation until the block ends; all before it is durable."""
        fsync, replace = os.fsync, os.replace
        self.names[0] = {"": self._node(self.root)}
        for path in [self.root, *self.root.rglob("*")]:
            self._keep(path)

        def fsync_seen(descriptor: int) -> None:
            self._look()
            fsync(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path == self.root or self.root in path.parents:
                self._keep(path)
                self._look()

        def replace_seen(source: Any, target: Any) -> None:
            replace(source, target)
            self._look()

        with pytest.MonkeyPatch.context() as patch, self._open:
            patch.setattr(os, "fsync", fsync_seen)
            patch.setattr(os, "replace", replace_seen)
            yield
            self._look()

    def _node(self, path: Path) -> int:
        """Return the inode; the file stays open, because a removed one's number is given anew."""
        node = path.stat().st_ino
        if node not in self._seen:
            self._seen[node] = os.open(path, os.O_RDONLY)
            self._open.callback(os.close, self._seen[node])
        return node

    def _keep(self, path: Path) -> None:
        if path.is_dir():
            self.names[self._node(path)] = {p.name: self._node(p) for p in path.iterdir()}
        else:
            self.contents[self._node(path)] = path.read_bytes()

    def _look(self) -> None:
        paths = [self.root, *self.root.rglob("*")]
        folders = {self._node(path): path for path in paths if path.is_dir()}
        files = {self._node(path): path for path in paths if not path.is_dir()}
        live = {
            node: {entry.name: self._node(entry) for entry in path.iterdir()}
            for node, path in folders.items()
        }
        nobody, everybody = set[int](), set(folders)
        choices = [nobody, everybody, *({node} for node in folders)]
        choices += [everybody - {node} for node in folders]
        left = {self._left(set(live) & chosen, live, files) for chosen in choices}
        seen = frozenset((str(p.relative_to(self.root)), p.read_bytes()) for p in files.values())
        self.moments.append(Moment(seen, frozenset({*left, seen})))

    def _left(
        self, chosen: set[int], live: dict[int, dict[str, int]], files: dict[int, Path]
    ) -> State:
        """Return what is left if the names in the chosen folders have reached the disk."""
        found: set[tuple[str, bytes]] = set()

        def walk(folder: int, prefix: str) -> None:
            names = live[folder] if folder in chosen else self.names.get(folder, {})
            for name, node in names.items():
                if node in live or node in self.names:
                    walk(node, f"{prefix}{name}/")
                else:
                    found.add((prefix + name, self.contents.get(node, b"")))

        walk(self._node(self.root), "")
        return frozenset(found)


def materialize(state: State, folder: Path) -> Path:
    """Write a state into a new folder."""
    for name, content in state:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folder.mkdir(exist_ok=True)
    return folder
