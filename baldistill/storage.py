"""A folder on any pyarrow filesystem (local, s3://, gs://, abfs://, hdfs://) or fsspec's.

Everything a run keeps goes through here, so that nothing assumes that workers see the driver's
disk. Files become visible whole: on a local disk by writing to a temporary name and renaming, on
object stores because an object appears when its upload is complete.

Credentials come from the environment of each process (AWS_ACCESS_KEY_ID, ~/.aws, an instance's
role, ...), never from the URI: a URI is written into logs and artifacts.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from baldistill import local_disk, object_stores
from baldistill.errors import UserError
from baldistill.private_folder import cached
from baldistill.uris import holds_secret, join, masked

_FSSPEC = "fsspec+"
_TABLE = ".parquet"


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder; names below are relative to it and use forward slashes. Picklable.

    Attributes:
        uri: As the user gave it, with its query (absolute path for a local folder).
        root: The folder's path on `fs`.
    """

    uri: str
    fs: pafs.FileSystem
    root: str

    @classmethod
    def open(cls, uri: str | Path) -> Storage:
        """Open a folder by path or URI; it need not exist yet.

        Raises:
            UserError: The URI cannot be opened, or carries credentials.
        """
        text = str(uri)
        if "://" not in text:
            path = os.path.abspath(Path(text).expanduser())
            if not _is_utf8(path):
                raise UserError(f"the path {path!r} is not valid UTF-8: use another")
            return cls(path, pafs.LocalFileSystem(), path)
        fs, root = open_uri(text)
        storage = cls(text, fs, root.rstrip("/"))
        try:
            fs.get_file_info(storage.root)
        except OSError as error:
            raise UserError(f"{_cannot_open(text)}: {error}") from None
        return storage

    @property
    def is_local(self) -> bool:
        """Return whether the folder is on a local (or mounted) disk."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    def path(self, name: str = "") -> str:
        """Return the path of a name on `fs`."""
        return f"{self.root}/{name}" if name else self.root

    def uri_of(self, name: str) -> str:
        """Return the URI (or absolute path) of a name, as `open` takes it."""
        return join(self.uri, name)

    def sub(self, name: str) -> Storage:
        """Return a folder in this folder."""
        return Storage(self.uri_of(name), self.fs, self.path(name))

    def exists(self, name: str) -> bool:
        """Return whether a file or folder of that name is there."""
        return bool(self.fs.get_file_info(self.path(name)).type != pafs.FileType.NotFound)

    def list(self, name: str = "") -> list[str]:
        """Return the names of the files directly in a folder, sorted; empty if it does not exist.

        Names that begin with a dot are left out, as in every reader of Parquet folders.
        """
        return list(self.sizes(name))

    def entries(self) -> set[str]:
        """Return the names of the files and folders directly in the folder."""
        if self.is_local:  # also names that are not UTF-8, which pyarrow cannot read
            return set(os.listdir(self.root)) if os.path.isdir(self.root) else set()
        selector = pafs.FileSelector(self.root, allow_not_found=True)
        return {info.base_name for info in self.fs.get_file_info(selector)}

    def sizes(self, name: str = "") -> dict[str, int]:
        """Return the size of each of these files in bytes, in the same order."""
        selector = pafs.FileSelector(self.path(name), allow_not_found=True)
        try:
            infos = self.fs.get_file_info(selector)
        except FileNotFoundError:  # another process made the folder while Arrow looked for it
            infos = self.fs.get_file_info(selector)
        files = {info.base_name: info.size for info in infos if info.type == pafs.FileType.File}
        return {file: files[file] for file in sorted(files) if not file.startswith(".")}

    def tables(self, name: str = "") -> Sequence[str]:
        """Return the names of the Parquet files in a folder; a README may lie beside them."""
        return [file for file in self.list(name) if file.endswith(_TABLE)]

    def files(self, name: str) -> Sequence[str]:
        """Return the names of all files in a folder, at any depth, or the file's own name; sorted.

        As in `list`, what begins with a dot is left out.
        """
        path = self.path(name)
        if self.fs.get_file_info(path).is_file:
            return [name]
        selector = pafs.FileSelector(path, recursive=True, allow_not_found=True)
        infos = self.fs.get_file_info(selector)  # their paths may lack a slash at the beginning
        inside = f"{path.strip('/')}/"
        found = [info.path.partition(inside)[2] for info in infos if info.is_file]
        return sorted(f"{name}/{file}" for file in found if not f"/{file}".count("/."))

    def make(self) -> None:
        """Make the folder, where it is not there yet."""
        if self.is_local:
            local_disk.make_folder(Path(self.root))
        else:
            self.fs.create_dir(self.root, recursive=True)

    def delete(self, name: str) -> None:
        """Remove a file or a folder with all in it; nothing if it is not there."""
        kind = self.fs.get_file_info(self.path(name)).type
        if kind == pafs.FileType.Directory:
            self.fs.delete_dir(self.path(name))
        elif kind == pafs.FileType.File:
            self.fs.delete_file(self.path(name))
        if self.is_local and kind != pafs.FileType.NotFound:
            local_disk.sync(Path(self.path(name)).parent)

    def sync(self, names: Iterable[str]) -> None:
        """Make files, and folders with all in them, survive a loss of power, whoever wrote them.

        An object store keeps what it has taken.
        """
        if self.is_local:
            local_disk.sync_all(Path(self.root), [Path(self.path(name)) for name in names])

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file; readers see it whole or not at all, and it survives a crash."""
        path = self.path(name)
        if self.is_local:
            local_disk.write(Path(path), data)
            return
        if self.fs.type_name not in object_stores.KINDS:  # they have no folders
            self.fs.create_dir(path.rpartition("/")[0], recursive=True)
        with self.fs.open_output_stream(path) as stream:
            stream.write(data)

    def create(self, name: str, data: bytes) -> None:
        """Write a file unless there is one; whole and durable, as `write_bytes` does.

        If a file with just this content is there, this call counts as the one that wrote it,
        because the answer to an earlier attempt may be lost. So `data` must name its writer.

        Raises:
            FileExistsError: There is another file.
            io.UnsupportedOperation: The storage has no such writes; see `creates_once`.
        """
        path = self.path(name)
        if self.is_local:
            local_disk.create(Path(path), data)
        else:
            object_stores.create(self.fs, path, data)

    def creates_once(self) -> bool:
        """Try whether `create` works: not on hdfs and fsspec, nor on an old object store."""
        name = f".{uuid.uuid4().hex}.tmp"
        try:
            self.create(name, b"first")
            self.create(name, b"second")
        except FileExistsError:
            return True
        except io.UnsupportedOperation:
            pass
        finally:
            self.delete(name)
        return False

    def read_bytes(self, name: str) -> bytes:
        """Return the content of a file."""
        with self.fs.open_input_stream(self.path(name)) as stream:
            return bytes(stream.read())

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text file."""
        self.write_bytes(name, text.encode("utf-8"))

    def read_text(self, name: str) -> str:
        """Read a UTF-8 text file."""
        return self.read_bytes(name).decode("utf-8")

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as indented JSON."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file."""
        return json.loads(self.read_text(name))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as one Parquet file (zstd)."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a Parquet file, or all of a folder, as one table."""
        files = (
            [name] if name.endswith(_TABLE) else [f"{name}/{file}" for file in self.tables(name)]
        )
        paths = [self.path(file) for file in files]
        return pq.read_table(paths, filesystem=self.fs, columns=columns and list(columns))

    def upload_dir(self, local: Path, name: str) -> None:
        """Copy a local folder here, replacing what stood under that name."""
        self.delete(name)
        if not self.is_local:
            self.fs.create_dir(self.path(name), recursive=True)
            pafs.copy_files(
                str(local), self.path(name), pafs.LocalFileSystem(), destination_filesystem=self.fs
            )
            return
        local_disk.copy_folder(local, Path(self.path(name)))

    def local_dir(self, name: str) -> Path:
        """Return the folder as a local one: itself, or a download that this machine keeps.

        The download is keyed by the URI and by the names, sizes and times of the files, so what
        was written anew is downloaded anew. It is kept in the user's cache, where no other user
        can put other weights in its place.

        Raises:
            UserError: There is no such folder, or other users can write to the cache.
        """
        if self.is_local:
            return Path(self.path(name))
        infos = self.fs.get_file_info(
            pafs.FileSelector(self.path(name), recursive=True, allow_not_found=True)
        )
        files = sorted((i.path, i.size, i.mtime_ns) for i in infos if i.is_file)
        if not files:
            raise UserError(f"there is nothing at {self.uri_of(name)}")
        key = hashlib.blake2b(repr((self.uri, files)).encode(), digest_size=16).hexdigest()

        def download(folder: Path) -> None:
            pafs.copy_files(
                self.path(name),
                str(folder),
                source_filesystem=self.fs,
                destination_filesystem=pafs.LocalFileSystem(),
            )

        return cached(key, download)


def open_uri(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the filesystem of a URI and the path on it.

    What pyarrow does not know is left to fsspec, if a package for it is installed.

    Raises:
        UserError: It cannot be opened, or carries credentials.
    """
    if holds_secret(uri):
        raise UserError(
            f"{masked(uri)} has credentials in it, which would be written into logs and "
            "artifacts: take them out and set them in the environment (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY for s3://, GOOGLE_APPLICATION_CREDENTIALS for gs://)"
        )
    protocol = uri.partition("://")[0].removeprefix(_FSSPEC)
    if protocol == "memory":
        raise UserError(f"{_cannot_open(uri)}: it lives in one process, and a run has many")
    try:
        fs, path = _from_uri(uri)
    except (pa.ArrowException, ValueError, ImportError, OSError) as error:
        raise UserError(
            f"{_cannot_open(uri)}: {error}. Known are paths, file://, s3://, gs://, abfs:// and "
            "hdfs://, and what fsspec has a package for"
        ) from None
    return fs, str(path)


def _from_uri(uri: str) -> tuple[Any, str]:
    if uri.startswith("s3://"):  # a small object in one request instead of three
        uri += f"{'&' if '?' in uri else '?'}allow_delayed_open=true"
    try:
        fs, path = pafs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise
        fs, path = pafs.FileSystem.from_uri(_FSSPEC + uri)
    return fs, path


def _is_utf8(path: str) -> bool:
    return path == path.encode("utf-8", "replace").decode("utf-8")


def _cannot_open(uri: str) -> str:
    return f"cannot open {uri}"
