"""The response store: Parquet segments and journals hold, and give back, the same."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.answers.completion import Completion
from baldistill.answers.journal import Journal
from baldistill.answers.store import ResponseStore
from baldistill.core.ledger import Caps, Reserve, Settle
from baldistill.errors import UserError
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import DurableLedger


def completion(name: str, text: str = "Seven.", cut: bool = False) -> Completion:
    finish = "length" if cut else "stop"
    return Completion(name, text, prompt_tokens=5, billed_tokens=3, finish_reason=finish)


def store_in(folder: Path) -> tuple[ResponseStore, Journal]:
    store = ResponseStore(Storage.open(folder / "store"))
    folder = Path(store.for_engines().path())
    return store, Journal(str(folder))


def all_of(store: ResponseStore) -> dict[str, Completion]:
    """Every answer, without the segment that it was read from."""
    answers = store.read(store.index(store.segments()))
    return {name: replace(answer, segment=None) for name, answer in answers.items()}


@given(texts=st.lists(st.text()), cut=st.booleans())
def test_both_kinds_of_segments_give_back_what_was_written(
    texts: list[str], cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    odd = [
        "",
        "a\nb\r\n",
        '{"text": "\\\\"}\n',
        "\x00\x1f\x7f\x85",
        "\u2028\u2029\ufeff\uffff",
        "😀é",
    ]
    answers = [completion(str(i), text, cut) for i, text in enumerate([*odd, *texts])]
    store, journal = store_in(tmp_path_factory.mktemp("run"))
    names = {journal.append(answer) for answer in answers}
    assert names == set(store.index(store.segments()).values())
    journaled = all_of(store)
    table = ResponseStore(store.storage.sub("tables"))
    table.append(answers)
    assert journaled == all_of(table)
    assert list(journaled.values()) == answers
    journal.close()


def test_answers_are_found_in_the_segment_that_is_named(tmp_path: Path) -> None:
    """Also where both kinds hold some, and one both."""
    store, journal = store_in(tmp_path)
    table = store.append([completion("a", "in Parquet"), completion("b")])
    line = journal.append(completion("a", "in a journal"))
    journal.append(completion("c"))
    assert store.read({"a": table})["a"].text == "in Parquet"
    assert store.read({"a": line, "b": table})["a"].text == "in a journal"
    assert store.read({"a": line}).keys() == {"a"}
    assert store.index(store.segments()).keys() == {"a", "b", "c"}
    assert {name: answer.segment for name, answer in store.read_journals({"a", "b"}).items()} == {
        "a": line
    }
    journal.close()


def test_a_line_is_seen_when_it_is_whole(tmp_path: Path) -> None:
    """Its writer was killed in the middle of it, or is still at it."""
    store, journal = store_in(tmp_path)
    segment = Path(store.storage.path(journal.append(completion("a"))))
    before = segment.read_bytes()
    journal.append(completion("b", "two\nlines \u00e9"))
    journal.close()
    whole = segment.read_bytes()
    assert before.count(b"\n") == 1
    assert whole.count(b"\n") == 2
    for length in range(len(whole) + 1):
        segment.write_bytes(whole[:length])
        seen = (length >= len(before)) + (length == len(whole))
        assert list(all_of(store)) == ["a", "b"][:seen]


def test_a_segment_ends_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baldistill.answers.journal._SEGMENT_BYTES", 400)
    store, journal = store_in(tmp_path)
    names = [journal.append(completion(str(i))) for i in range(30)]
    journal.close()
    sizes = store.segments()
    assert 5 < len(sizes) == len(set(names)) < 15
    assert max(sizes.values()) < 400 + 120
    assert store.index(sizes) == {str(i): name for i, name in enumerate(names)}
    assert len(all_of(store)) == 30


def test_a_line_that_the_disk_cuts_is_no_answer(tmp_path: Path) -> None:
    """What is written after it stands in a segment of its own."""
    store, journal = store_in(tmp_path)
    first = journal.append(completion("a"))
    with files_of_at_most(store.segments()[first] + 10), pytest.raises(OSError, match="was cut"):
        journal.append(completion("b"))
    second = journal.append(completion("c"))
    journal.close()
    assert store.index(store.segments()) == {"a": first, "c": second}


def test_a_folder_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError):
        journal.append(completion("a"))
    assert not (tmp_path / "elsewhere").exists()


def test_every_sync_of_a_full_disk_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, journal = store_in(tmp_path)
    journal.append(completion("a"))
    monkeypatch.setattr("baldistill.answers.journal.sync", full)
    for _ in range(3):  # whoever comes next must not take it for kept
        with pytest.raises(UserError, match=r"answers cannot be kept in .*: no room"):
            journal.sync()
    journal.close()


def test_the_ledger_follows_a_journal_that_another_run_goes_on_with(tmp_path: Path) -> None:
    store, journal = store_in(tmp_path)
    ledger = DurableLedger(Storage.open(tmp_path / "ledger"), store, Caps())
    ledger.reserve([Reserve("a", "rationale", 1, "sums")])
    segment = journal.append(completion("a"))
    ledger.settle([Settle("a", 5, 3)], segment)
    for name in ("b", "c"):
        journal.append(completion(name))
        assert ledger.reserve([Reserve(name, "rationale", 1, "sums")])[1] == {name: segment}
    total = ledger.summary()["total"]
    assert (total["calls"], total["reused"]) == (1, 2)
    journal.close()


def test_an_answer_whose_run_died_is_settled_once_it_is_back(tmp_path: Path) -> None:
    """Also one that an engine writes when the new ledger has looked already."""
    store, journal = store_in(tmp_path)
    log = Storage.open(tmp_path / "ledger")
    asked = [Reserve(name, "rationale", 1, "sums", max_tokens=20) for name in ("a", "b", "c")]
    DurableLedger(log, store, Caps()).reserve(asked)
    journal.append(completion("a"))
    ledger = DurableLedger(log, store, Caps())
    assert ledger.summary()["total"]["completion_tokens"] == 3
    journal.append(completion("b"))
    grants, where = ledger.reserve(asked[:2])
    assert grants.settled == where.keys() == {"a", "b"}
    total = ledger.summary()["total"]
    assert (total["calls"], total["reused"], total["completion_tokens"]) == (3, 0, 6)
    journal.close()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def full(path: Path) -> None:
    raise OSError("no room")
