"""What `baldistill data validate` says of a corpus that a run would refuse."""

from __future__ import annotations

import pytest

from baldistill.commands.inspect_corpus import Inspection, validate
from baldistill.config.loading import load_config
from baldistill.data.summary import CorpusSummary
from baldistill.errors import ConfigError
from baldistill.progress.display import Display
from baldistill.records import QUARANTINE


@pytest.mark.parametrize("preset", ["baldistill-a-code", "baldistill-n-code"])
def test_a_corpus_of_which_all_rows_would_be_candidates_is_refused(preset: str) -> None:
    config = load_config(None, [], preset)

    def check(rows: int, *options: str) -> None:
        summary = CorpusSummary(rows, {"a": rows - 1, "b": 1}, {"a": 1}, {}, 0, [])
        found = Inspection(summary, QUARANTINE.empty_table())
        validate(found, load_config(None, [*options], preset), Display(quiet=True), rows=0)

    assert config.selection.candidates_per_quota is None
    check(1_000_000)
    with pytest.raises(ConfigError, match=f"such as 3, also beside --method.*{preset}"):
        check(1_000_001)
    check(1_000_001, "selection.candidates_per_quota=3")
