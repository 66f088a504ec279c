"""Find the files that the user named in `data.train` and `data.evaluation`.

A source is a file, a folder, a glob or a URI, or a list of them, on any filesystem that
`pyarrow.fs.FileSystem.from_uri` opens. The bundled corpus is written to files first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow.fs as pafs

from baldistill.config import Columns, DataConfig
from baldistill.data.compression import ENDINGS as PACKED
from baldistill.data.compression import Compression
from baldistill.data.hub import SCHEME, find_on_hub, hub_errors
from baldistill.errors import DataError, UserError
from baldistill.run_folder import layout
from baldistill.storage import Storage, open_uri
from baldistill.uris import split_query

Format: TypeAlias = Literal["jsonl", "parquet", "csv"]
Role: TypeAlias = Literal["train", "evaluation"]

ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
}
"""Known endings; all but Parquet's may be followed by one of `compression.ENDINGS`."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the corpus. Picklable.

    `index` is its place among the train and evaluation files. `shown` is its name in messages and
    in the quarantine table. `compression` is that of the file as a whole. `is_array` says whether
    it is one JSON array, and not lines.
    """

    index: int
    role: Role
    shown: str
    fs: pafs.FileSystem
    path: str
    size: int
    format: Format
    delimiter: str = ","
    compression: Compression | None = None
    is_array: bool = False


def find_files(
    sources: str | Sequence[str],
    role: Role,
    given: Format | Literal["auto"],
    first_index: int = 0,
    key: str | None = None,
) -> list[SourceFile]:
    """List the files of `data.train` or `data.evaluation`, in order, each once.

    `given` is `data.format`; the first file has the index `first_index`. Errors name `key`, if the
    files are those of another option.

    Raises:
        DataError: A source does not exist, matches nothing, or has no known ending.
    """
    files: list[SourceFile] = []
    seen: set[tuple[str, str]] = set()
    advice = "give it one" if key else "set data.format to jsonl, parquet or csv"
    key = key or f"data.{role}"
    for source in [sources] if isinstance(sources, str) else sources:
        for fs, info, shown in _expand(source, key, any_ending=given != "auto"):
            if (fs.type_name, info.path) in seen:
                continue
            seen.add((fs.type_name, info.path))
            kind = given if given != "auto" else format_of(info.path)
            if kind is None:
                raise DataError(
                    f"{key}: cannot tell the format of {shown} by its ending (known: "
                    f"{', '.join(ENDINGS)}); {advice}"
                )
            delimiter = "\t" if _stem(info.path).endswith(".tsv") else ","
            index = first_index + len(files)
            files.append(
                SourceFile(index, role, shown, fs, info.path, info.size or 0, kind, delimiter)
            )
    return files


def write_bundled(config: DataConfig, seed: int, storage: Storage) -> DataConfig:
    """Write the corpus inside the package as files; return the config that reads them.

    Raises:
        DataError: The corpus cannot have so many rows.
    """
    from baldistill.bundled.corpus import make_corpus  # most runs do not need it

    try:
        train, evaluation = make_corpus(
            config.bundled_rows,
            config.bundled_evaluation_per_domain,
            config.bundled_alpha,
            seed,
            config.bundled_level,
        )
    except ValueError as error:
        raise DataError(f"data.bundled_rows={config.bundled_rows}: {error}") from None
    source = storage.sub(layout.BUNDLED_SOURCE)
    source.write_table("train.parquet", train)
    mapped = config.columns
    names = Columns(
        answer=mapped.answer and "answer",
        evaluation_answer=mapped.evaluation_answer and "answer",
        domain=mapped.domain and "domain",
    )
    changes: dict[str, Any] = {"train": source.uri_of("train.parquet"), "columns": names}
    if config.evaluation is None:
        source.write_table("evaluation.parquet", evaluation)
        most = config.bundled_evaluation_per_domain
        changes |= {
            "evaluation": source.uri_of("evaluation.parquet"),
            "evaluation_max_per_domain": max(config.evaluation_max_per_domain, most),
            "columns": names.model_copy(update={"id": "id"}),
            "format": "parquet",
        }
    return config.model_copy(update=changes)


def _expand(
    source: str, key: str, *, any_ending: bool
) -> list[tuple[pafs.FileSystem, pafs.FileInfo, str]]:
    if not source.startswith(SCHEME):
        fs, path, prefix = _open(source, key)
        return _expand_path(fs, path, prefix, source, key, any_ending=any_ending)
    found = find_on_hub(source, key)
    pinned = f"@{found.commit}"
    with hub_errors(key, source):
        return [
            (fs, info, f"{SCHEME}{info.path.replace(pinned, '')}")
            for path in found.paths
            for fs, info, _ in _expand_path(
                found.fs, path, SCHEME, source, key, any_ending=any_ending
            )
        ]


def _expand_path(
    fs: pafs.FileSystem, path: str, prefix: str, source: str, key: str, *, any_ending: bool
) -> list[tuple[pafs.FileSystem, pafs.FileInfo, str]]:
    info = fs.get_file_info(path)
    if info.type == pafs.FileType.File:
        return [(fs, info, source)]
    if info.type == pafs.FileType.Directory:
        found = [
            file
            for file in _files_below(fs, path)
            if any_ending or format_of(file.path) is not None
        ]
        if not found:
            raise DataError(
                f"{key}: the folder {source} has no files with a known ending "
                f"({', '.join(ENDINGS)}); name the files, and set data.format if need be"
            )
    elif any(character in path for character in "*?["):
        pattern = glob_pattern(path)
        base = re.split(r"[*?\[]", path, maxsplit=1)[0].rpartition("/")[0]
        found = [file for file in _files_below(fs, base) if pattern.fullmatch(file.path)]
        if not found:
            raise DataError(f"{key}: {source} matches no file; check the path and the wildcards")
    else:
        raise DataError(f"{key}: {source} does not exist; {_nearest_parent(fs, path, prefix)}")
    return [(fs, file, prefix + file.path) for file in found]


def _open(source: str, key: str) -> tuple[pafs.FileSystem, str, str]:
    """Return the filesystem, the path on it, and the prefix of its paths in messages."""
    if "://" not in source:
        return pafs.LocalFileSystem(), str(Path(source).expanduser().absolute()), ""
    plain, query = split_query(source)
    wildcard = re.search(r"[*?\[]", plain)
    rest = plain[wildcard.start() :] if wildcard else ""
    fixed = plain.removesuffix(rest)
    try:
        fs, path = open_uri(fixed + query)
    except UserError as error:
        raise DataError(f"{key}: {error}; check the URI and the credentials") from None
    if rest and fixed.endswith("/") and not path.endswith("/"):
        path += "/"
    return fs, path + rest, f"{source.partition('://')[0]}://"


def _files_below(fs: pafs.FileSystem, folder: str) -> list[pafs.FileInfo]:
    """List the files at any depth, by path, without hidden files and markers such as _SUCCESS."""
    selector = pafs.FileSelector(folder or "/", recursive=True, allow_not_found=True)
    try:
        infos = [info for info in fs.get_file_info(selector) if info.type == pafs.FileType.File]
        infos.sort(key=lambda info: info.path)
    except UnicodeDecodeError as error:
        name = os.fsdecode(bytes(error.object))
        raise DataError(f"the file name {name!r} in {folder} is no UTF-8: rename it") from None
    inside = len(folder.rstrip("/")) + 1
    return [i for i in infos if not re.search(r"(^|/)[._]", i.path[inside:])]


def glob_pattern(path: str) -> re.Pattern[str]:
    """Turn a glob into a regular expression; `*` and `?` stay within a folder, `**` does not."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", path)
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            wildcards.get(piece)
            or (piece.replace("[!", "[^") if piece.startswith("[") else re.escape(piece))
            for piece in pieces
        )
    )


def _stem(path: str) -> str:
    stem, dot, last = path.lower().rpartition(".")
    return stem if f"{dot}{last}" in PACKED else stem + dot + last


def format_of(path: str) -> Format | None:
    """Return the format of a file by its ending; None for an unknown one."""
    stem = _stem(path)
    return next((kind for ending, kind in ENDINGS.items() if stem.endswith(ending)), None)


def _nearest_parent(fs: pafs.FileSystem, path: str, prefix: str) -> str:
    parent = path
    while "/" in parent.strip("/"):
        parent = parent.rpartition("/")[0]
        if fs.get_file_info(parent).type == pafs.FileType.Directory:
            names = sorted(i.base_name for i in fs.get_file_info(pafs.FileSelector(parent)))
            listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            return f"the folder {prefix}{parent} has: {listed or 'nothing'}"
    return "check the path"
