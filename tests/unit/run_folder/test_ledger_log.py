"""The log of a ledger ends no earlier than the markers of its run folder say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from baldistill.core.checked_lines import to_line
from baldistill.core.ledger import Own, to_record
from baldistill.errors import UserError
from baldistill.run_folder import layout
from baldistill.run_folder.ledger_log import check_last_segment, ledger_damage, read_log
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage


@dataclass(frozen=True)
class Nothing:
    """The result of a step here."""


def run_with_segments(folder: Path, before: int, after: int) -> Storage:
    """Return a run that committed a step between two segments of its ledger."""
    run = Storage.open(folder)
    for number in range(before + after):
        if number == before:
            Chain(run).step(layout.CORPUS_STEP, {}, Nothing, Nothing)
        line = to_line(to_record(Own("run", f"start {number}")))
        run.write_bytes(f"{layout.LEDGER}/{number:08d}.jsonl", line)
    return run


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_segments_lost_at_the_end_are_named_and_can_be_given_up(tmp_path: Path, kept: int) -> None:
    run = run_with_segments(tmp_path, before=3, after=1)
    check_last_segment(run)
    for path in sorted((tmp_path / layout.LEDGER).iterdir())[kept:]:
        path.unlink()
    missing = f"{kept:08d}.jsonl"
    with pytest.raises(UserError, match=rf"{missing}, .* is missing.*--accept-loss"):
        check_last_segment(run)
    found = ledger_damage(run)
    assert [Path(damage.file).name for damage in found] == [
        f"{number:08d}.jsonl" for number in range(kept, 3)
    ]
    for damage in found:
        damage.mend()
    check_last_segment(run)
    assert len(read_log(run.sub(layout.LEDGER))[0]) == 3


def test_a_segment_that_no_marker_vouches_for_is_not_missed(tmp_path: Path) -> None:
    run = run_with_segments(tmp_path, before=2, after=1)
    (tmp_path / layout.LEDGER / "00000002.jsonl").unlink()
    check_last_segment(run)
    assert ledger_damage(run) == []
