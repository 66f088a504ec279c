"""State of a training as files: tensors in safetensors, all else in JSON. Nothing is pickled.

A state is a tree of dicts, lists and tuples, as optimisers and schedulers give it. Each tensor is
replaced by the number under which a safetensors file holds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

_TREE = "state.json"
_BYTES = 2**31  # of a safetensors file, so that memory holds little beside the state itself


def write(tree: Mapping[str, Any], folder: Path | None) -> None:
    """Write a tree into a folder; without one, take part in gathering tensors that are shared out.

    Raises:
        TypeError: The tree holds something that is neither a tensor nor a JSON value.
        OSError: The folder does not take it. All tensors have been gathered nevertheless.
    """
    writer = _Writer(folder)
    coded = {key: writer.code(value) for key, value in tree.items()}
    writer.flush()
    if writer.error is not None:
        raise writer.error
    if folder is not None:
        (folder / _TREE).write_text(json.dumps(coded), "utf-8")


class Snapshot:
    """A tree that was written; its parts are read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        """Read all but the tensors."""
        self._folder = folder
        self._coded = json.loads((folder / _TREE).read_text("utf-8"))

    def __getitem__(self, key: str) -> Any:
        return self._decode(self._coded[key])

    def _decode(self, coded: Any) -> Any:
        if not isinstance(coded, dict):
            return coded
        ((kind, value),) = coded.items()
        if kind == "tensor":
            file, name = value
            with safe_open(self._folder / file, "pt") as tensors:
                # a copy: the file may be deleted while the tensor is in use
                return tensors.get_tensor(name).clone()
        if kind == "dict":
            return {key: self._decode(part) for key, part in value}
        parts = [self._decode(part) for part in value]
        return tuple(parts) if kind == "tuple" else parts


class _Writer:
    """Codes values as JSON, and writes tensors into files of bounded size."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._tensors: dict[str, torch.Tensor] = {}
        self._bytes = self._files = self._count = 0
        self.error: OSError | None = None

    def code(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return {"tensor": self._add(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            return {"dict": [[self._key(key), self.code(part)] for key, part in value.items()]}
        if isinstance(value, tuple | list):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.code(part) for part in value]}
        raise TypeError(f"a {type(value).__name__} is neither a tensor nor a JSON value")

    def _key(self, key: Any) -> str | int:
        if isinstance(key, str | int):
            return key
        raise TypeError(f"a {type(key).__name__} is no key of a JSON object")

    def _add(self, tensor: torch.Tensor) -> tuple[str, str]:
        whole = tensor.detach()
        if hasattr(whole, "full_tensor"):  # all workers gather it, in the same order
            whole = whole.full_tensor()
        name = str(self._count)
        self._count += 1
        if self._bytes + whole.nbytes > _BYTES:
            self.flush()
        if self._folder is not None:
            # safetensors wants tensors that share no memory
            self._tensors[name] = whole.to("cpu", copy=True).contiguous()
            self._bytes += whole.nbytes
        return self._file, name

    @property
    def _file(self) -> str:
        return f"tensors-{self._files:05d}.safetensors"

    def flush(self) -> None:
        if self._tensors:
            assert self._folder is not None
            try:
                save_file(self._tensors, self._folder / self._file)
            except (OSError, SafetensorError) as error:  # safetensors has its own for a full disk
                self.error, self._folder = OSError(str(error)), None
            self._tensors, self._bytes = {}, 0
            self._files += 1
