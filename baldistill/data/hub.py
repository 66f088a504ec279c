"""Data sets of the Hugging Face hub, read through the hub's own filesystem, as they are needed.

`hf://datasets/OWNER/NAME/path` names files, folders or globs, as any other URI does.
`hf://datasets/OWNER/NAME?config=CONFIG&split=SPLIT` names a part of a data set: its files stand in
the data set's card, or are known by their names, or are the hub's own conversion to Parquet.

The commit is looked up once, so that all workers read the same files. HF_TOKEN or `hf auth login`
says who reads, in each process for itself. HF_ENDPOINT names another hub; the driver's reaches all.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import pyarrow.fs as pafs

from baldistill.errors import DataError
from baldistill.masking import masked_text
from baldistill.uris import split_query

SCHEME = "hf://"
_SOURCE = re.compile(
    r"hf://datasets/(?P<name>[^/@?*\[\]]+/[^/@?*\[\]]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/?]+|[^/?]+))?(?:/(?P<path>.*))?"
)
_CONVERTED = "refs/convert/parquet"
_SPLITS = {  # as `datasets` knows the splits of files by their names
    "train": r"train(?:ing)?",
    "validation": r"valid(?:ation)?|dev|val",
    "test": r"test(?:ing)?|eval(?:uation)?",
}


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Files of a data set at one commit: paths, folders or globs on a filesystem."""

    fs: pafs.FileSystem
    paths: Sequence[str]
    commit: str


def find_on_hub(source: str, key: str) -> HubFiles:
    """Find what a source names on the hub; `key` is the option that named it.

    Raises:
        DataError: There is no such data set, configuration or split, it may not be read, or the hub
            cannot be reached.
    """
    plain, query = split_query(source)
    wanted = dict(parse_qsl(query[1:]))
    found = _SOURCE.fullmatch(plain)
    if found is None or wanted.keys() - {"config", "split"}:
        raise DataError(
            f"{key}: {source} is no data set of the hub: write hf://datasets/OWNER/NAME/path, or "
            "hf://datasets/OWNER/NAME?config=CONFIG&split=SPLIT"
        )
    name, path = found["name"], (found["path"] or "").strip("/")
    if path and wanted:
        raise DataError(f"{key}: {source} names files and a split: leave one of them out")
    from huggingface_hub import HfApi, HfFileSystem  # which transformers needs, too

    # neither address nor token goes along to workers: each reads its own environment
    endpoint = os.environ.get("HF_ENDPOINT") or None
    with hub_errors(key, source):
        about = HfApi(endpoint=endpoint).dataset_info(name, revision=found["revision"])
        hub = HfFileSystem(endpoint=endpoint)
        base = f"datasets/{name}@{about.sha}"
        if path:
            paths = [f"{base}/{path}"]
        else:
            part = _Part(hub, base, name, key, wanted.get("config"), wanted.get("split"))
            paths = part.paths()
    return HubFiles(pafs.PyFileSystem(pafs.FSSpecHandler(hub)), paths, str(about.sha))


@dataclass(frozen=True, slots=True)
class _Part:
    """A split of a configuration of a data set."""

    hub: Any
    base: str
    name: str
    key: str
    config: str | None
    split: str | None

    def paths(self) -> list[str]:
        """Return the globs of its files."""
        configs = self._configs()
        if not configs and self.config is not None:
            return self._converted()
        config = self._chosen(configs) if configs else {}
        folder = str(config.get("data_dir") or "").strip("/")
        files = config.get("data_files")
        by_split = _by_split(files) if files else self._by_name(folder)
        split = self._pick("split", self.split, list(by_split), "train")
        inside = f"{self.base}/{folder}" if files and folder else self.base
        return [f"{inside}/{path}" for path in by_split[split]]

    def _configs(self) -> list[Mapping[str, Any]]:
        """Return the configurations that the card of the data set lists."""
        from huggingface_hub import DatasetCard

        try:
            with self.hub.open(f"{self.base}/README.md", "rb") as file:
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        if not text.startswith("---"):  # of which the hub's client would warn
            return []
        configs = DatasetCard(text, ignore_metadata_errors=True).data.get("configs") or []
        return [config for config in configs if isinstance(config, Mapping)]

    def _chosen(self, configs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        names = {str(config.get("config_name", "default")): config for config in configs}
        default = next((n for n, config in names.items() if config.get("default")), "default")
        return names[self._pick("config", self.config, list(names), default)]

    def _by_name(self, folder: str) -> dict[str, list[str]]:
        """Return the data files of a data set without a list of them, by their split."""
        from baldistill.data.sources import format_of

        inside = f"{self.base}/{folder}" if folder else self.base
        files = [str(file).removeprefix(f"{self.base}/") for file in self.hub.find(inside)]
        files = [file for file in files if format_of(file) is not None]
        found: dict[str, list[str]] = {}
        for split, words in _SPLITS.items():
            pattern = re.compile(rf"(?:^|[/._ -])(?:{words})(?:[/._ \d-]|$)", re.IGNORECASE)
            if some := [file for file in files if pattern.search(file)]:
                found[split] = some
        if not files:
            raise DataError(
                f"{self.key}: the data set {self.name} has no files that can be read: if the hub "
                f"shows its rows, give a configuration ({SCHEME}datasets/{self.name}?config=...)"
            )
        return found or {"train": files}

    def _converted(self) -> list[str]:
        """Return the hub's own conversion of a configuration to Parquet."""
        root = f"datasets/{self.name}@{_CONVERTED}"
        try:
            configs = [path.rpartition("/")[2] for path in self._folders(root)]
        except FileNotFoundError:
            raise DataError(
                f"{self.key}: the data set {self.name} lists no configurations, and the hub has no "
                f"Parquet copy of it: name its files, {SCHEME}datasets/{self.name}/path"
            ) from None
        config = self._pick("config", self.config, configs, "default")
        splits = [path.rpartition("/")[2] for path in self._folders(f"{root}/{config}")]
        split = self._pick("split", self.split, splits, "train")
        if split.startswith("partial-"):
            raise DataError(f"{self.key}: the hub's copy of {self.name} has only a part of {split}")
        return [f"{root}/{config}/{split}"]

    def _folders(self, path: str) -> list[str]:
        return [str(item["name"]) for item in self.hub.ls(path) if item["type"] == "directory"]

    def _pick(self, what: str, given: str | None, known: Sequence[str], default: str) -> str:
        """Return the name that is given, or that goes without saying."""
        if given is None and (default in known or len(known) == 1):
            return default if default in known else known[0]
        if given in known and given is not None:
            return given
        near = difflib.get_close_matches(given or "", known, 1)
        hint = f"; did you mean {near[0]}?" if near else f": give ?{what}=NAME, one of"
        problem = f"has no {what} {given}" if given else f"has several {what}s"
        listed = ", ".join(sorted(known)[:20]) or "none"
        raise DataError(f"{self.key}: the data set {self.name} {problem}{hint} ({listed})")


def _by_split(files: Any) -> dict[str, list[str]]:
    """Return the globs of each split, as a card may list them."""
    found: dict[str, list[str]] = {}
    if isinstance(files, Mapping):
        files = [{"split": split, "path": path} for split, path in files.items()]
    for item in [files] if isinstance(files, str) else files:
        one = item if isinstance(item, Mapping) else {"path": item}
        paths = one.get("path") or []
        some = found.setdefault(str(one.get("split", "train")), [])
        some += [paths] if isinstance(paths, str) else map(str, paths)
    return found


@contextmanager
def hub_errors(key: str, source: str) -> Iterator[None]:
    """Turn what the hub's client raises into errors that the user can mend."""
    from huggingface_hub import errors

    who = "set HF_TOKEN to a token that may read it, or run `hf auth login`"
    try:
        yield
    except errors.GatedRepoError:
        raise DataError(
            f"{key}: {source} is open only to those whom its owners let in: ask for access on its "
            f"page, then {who}"
        ) from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"{key}: the hub has no data set {source} that you may read: check OWNER/NAME; if it "
            f"is private, {who}"
        ) from None
    except errors.RevisionNotFoundError:
        raise DataError(f"{key}: {source}: the data set has no such revision") from None
    except errors.HFValidationError as error:
        raise DataError(f"{key}: {source} is no OWNER/NAME of the hub: {error}") from None
    except errors.OfflineModeIsEnabled:
        raise DataError(f"{key}: {source}: unset HF_HUB_OFFLINE to read from the hub") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        said = masked_text((str(error).strip().split("\n") or [""])[0])
        fix = who if status in (401, 403) else "try again later"
        raise DataError(f"{key}: the hub refuses {source} ({said}): {fix}") from None
    except DataError:
        raise
    except Exception as error:
        if not is_of_the_network(error):
            raise
        raise DataError(
            f"{key}: {source}: the hub cannot be reached ({type(error).__name__}: "
            f"{masked_text(str(error))}): check the network, and HF_ENDPOINT if it is set"
        ) from None


def is_of_the_network(error: BaseException) -> bool:
    """Return whether the hub was not reached; its client has used requests, httpx and httpx2."""
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "Timeout"})
