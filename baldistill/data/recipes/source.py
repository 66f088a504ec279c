"""Read a data set of the Hugging Face hub row by row, through the `datasets` library."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from baldistill.data.recipes.row import Row, Transformation
from baldistill.data.sources import Role
from baldistill.errors import DataError, MissingPackageError

PARQUET = "refs/convert/parquet"
"""The hub's own conversion of a data set whose loading script `datasets` no longer runs."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set of the hub (`owner/name`), with the transformation of its rows.

    `train` and `evaluation` name splits, `config` a configuration, `revision` a branch, tag or
    commit. A data set without configurations has `files`, the pattern of a split's files, with
    `{split}`. Tab-separated text without a header has `columns`, their names; `quoted` says whether
    quotation marks enclose values. Files outside the hub have a `url`, the folder above them.
    """

    hub: str
    rows: Transformation
    train: str = "train"
    evaluation: str = "test"
    config: str | None = None
    revision: str | None = None
    files: str | None = None
    columns: tuple[str, ...] | None = None
    quoted: bool = True
    url: str | None = None

    def read(self, role: Role, mirror: str | None = None) -> Iterator[Row]:
        """Yield the rows of one part, in the source's order.

        `mirror` is a folder with copies of the data sets, as `owner/name`, in place of the hub.

        Raises:
            MissingPackageError: `datasets` is not installed.
            DataError: The data set cannot be read, or a row is not of the expected form.
        """
        table = self._load(role, mirror)
        names = {name: labels for name, kind in table.features.items() if (labels := _names(kind))}
        for number, row in enumerate(table):
            for name, labels in names.items():
                row[name] = _named(row[name], labels)
            try:
                made = list(self.rows(row))
            except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
                raise DataError(
                    f"{self.hub}: row {number} of {role} is not of the known form "
                    f"({type(error).__name__}: {error}); its columns are "
                    f"{', '.join(row)}. Has the data set changed? Give an older copy by --mirror"
                ) from None
            yield from (one for one in made if one.split in (None, role))

    @property
    def _home(self) -> str:
        return self.url or f"https://huggingface.co/datasets/{self.hub}"

    def _load(self, role: Role, mirror: str | None) -> Any:
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise MissingPackageError(
                f"recipes read from the Hugging Face hub with `datasets` ({error.name} is not "
                "installed): pip install 'baldistill[datasets]'"
            ) from None
        split = self.train if role == "train" else self.evaluation
        place = self.hub if mirror is None else str(Path(mirror).expanduser() / self.hub)
        if mirror is not None and not Path(place).is_dir():
            raise DataError(
                f"--mirror {mirror} has no folder {self.hub}: it must hold a copy of {self._home}"
            )
        arguments: dict[str, Any] = {"name": self.config}
        if self.files is not None:
            arguments["data_files"] = {split: self.files.format(split=split)}
        if self.columns is not None:
            base = self.url or f"hf://datasets/{self.hub}" if mirror is None else place
            files = {split: f"{base}/{arguments['data_files'][split]}"}
            arguments = {"data_files": files, "sep": "\t", "header": None}
            arguments |= {"names": list(self.columns), "keep_default_na": False}
            arguments["quoting"] = csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE
            place = "csv"
        elif mirror is None:
            arguments["revision"] = self.revision
        try:
            return datasets.load_dataset(place, split=split, **arguments)
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(
                f"cannot read {self.hub} ({split}): {_first_line(error)}\nTo do: check that "
                f"{self._home} can be reached (and HF_HUB_OFFLINE is not set), or copy "
                "the data sets to a folder as owner/name and give it by --mirror"
            ) from None


def _names(kind: Any) -> list[str] | None:
    """Return the labels of a ClassLabel column, or of a list of them."""
    names: list[str] | None = getattr(getattr(kind, "feature", kind), "names", None)
    return names


def _named(value: Any, labels: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(one, labels) for one in value]
    return labels[value] if isinstance(value, int) and 0 <= value < len(labels) else value


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
