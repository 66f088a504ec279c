"""The corpus inside the package, written as files and then read like any user's."""

from __future__ import annotations

from typing import Any

from baldistill.config import Columns, DataConfig
from baldistill.errors import DataError
from baldistill.run_folder import layout
from baldistill.storage import Storage


def write_bundled(config: DataConfig, seed: int, storage: Storage) -> DataConfig:
    """Write the corpus of the package as files; the config that reads them."""
    # the package's own corpus is imported only where it is asked for
    from baldistill.bundled.corpus import make_corpus

    try:
        train, evaluation = make_corpus(
            config.bundled_rows, config.bundled_evaluation_per_domain, config.bundled_alpha, seed
        )
    except ValueError as error:
        raise DataError(f"data.bundled_rows={config.bundled_rows}: {error}") from None
    source = storage.sub(layout.BUNDLED_SOURCE)
    source.write_table("train.parquet", train)
    changes: dict[str, Any] = {"train": source.uri_of("train.parquet"), "columns": Columns()}
    if config.evaluation is None:
        source.write_table("evaluation.parquet", evaluation)
        most = config.bundled_evaluation_per_domain
        changes |= {
            "evaluation": source.uri_of("evaluation.parquet"),
            "evaluation_max_per_domain": max(config.evaluation_max_per_domain, most),
            "columns": Columns(id="id"),
            "format": "parquet",
        }
    return config.model_copy(update=changes)
