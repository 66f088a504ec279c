"""The ledger's log and the response store: crashes anywhere, many workers, shared stores."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from baldistill.answers.completion import Completion
from baldistill.answers.journal import Journal
from baldistill.answers.store import ResponseStore
from baldistill.config.teachers import TransformersTeacher
from baldistill.core.ledger import Caps, Prices, Reject, Release, Reserve, Settle
from baldistill.errors import UserError
from baldistill.generation.dispatcher import SavedAnswers
from baldistill.generation.types import Request, Sampling
from baldistill.run_folder.ledger_log import ledger_damage
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import DurableLedger, start_ledger
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.teacher import Question, Teacher


def completion(name: str, text: str | None = None) -> Completion:
    tokens = np.arange(3, dtype=np.int32)
    return Completion(name, text or f"answer to {name}", tokens, np.zeros(3, np.float32), 5)


def reserve(*names: str) -> list[Reserve]:
    """Of the two teachers of a cascade, every third call is to the second."""
    return [
        Reserve(
            name,
            "rationale",
            1,
            "sums",
            max_tokens=20,
            prompt_tokens=6,
            tier=2 if name.isdigit() and int(name) % 3 == 0 else 1,
        )
        for name in names
    ]


def settle(*names: str) -> list[Settle]:
    return [Settle(name, 5, 3) for name in names]


class Crash(BaseException):
    """The process ends here."""


@dataclass(frozen=True, slots=True)
class CrashingStorage(Storage):
    """A folder whose process dies at the n-th write, before or after it took place."""

    left: Any = None

    def sub(self, name: str) -> Storage:
        return CrashingStorage(f"{self.uri}/{name}", self.fs, self.path(name), self.left)

    def write_bytes(self, name: str, data: bytes) -> None:
        self._crashing(Storage.write_bytes, name, data)

    def create(self, name: str, data: bytes) -> None:
        self._crashing(Storage.create, name, data)

    def _crashing(self, write: Callable[..., None], name: str, data: bytes) -> None:
        self.left[0] -= 1
        if self.left[0] < 0:
            raise Crash
        if self.left[0] == 0 and self.left[1]:
            raise Crash
        write(self, name, data)
        if self.left[0] == 0:
            raise Crash


PRICES = (Prices(1e4, 2e4), Prices(1e5, 3e5))


def opened(storage: Storage, caps: Caps) -> tuple[DurableLedger, ResponseStore]:
    store = ResponseStore(storage.sub("responses"))
    return DurableLedger(storage.sub("ledger"), store, caps, PRICES), store


def within(caps: Caps, total: dict[str, Any]) -> None:
    """Nothing is past its cap: not what was spent, nor that with what calls may yet cost."""
    tokens = total["prompt_tokens"] + total["completion_tokens"] + total["held_tokens"]
    assert caps.examples is None or total["units"] <= caps.examples
    assert caps.calls is None or total["calls"] <= caps.calls
    assert caps.tokens is None or tokens <= caps.tokens
    assert caps.cost is None or total["cost"] + total["held_cost"] <= caps.cost + 1e-9


def work(log: DurableLedger, store: ResponseStore, names: Sequence[str], called: list[str]) -> None:
    """What `Teacher.ask` does, in one process, in batches of three; one in five is rejected.

    At every second batch the engines stop before anything is sent, and it is asked for again.
    """
    for start in range(0, len(names), 3):
        grants, where = log.reserve(reserve(*names[start : start + 3]))
        if start % 2:
            log.release([Release(name) for name in grants.granted if name not in where])
            grants, where = log.reserve(reserve(*names[start : start + 3]))
        known = store.read(where)
        assert known.keys() == where.keys()
        wanted = [name for name in grants.granted if name not in known]
        called += wanted
        if wanted:
            log.settle(settle(*wanted), store.append([completion(name) for name in wanted]))
        answered = [name for name in grants.granted if int(name) % 5 == 0]
        log.reject([Reject(name, "wrong conclusion") for name in answered])


@settings(max_examples=30, deadline=None)
@given(
    crashes=st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=6),
    caps=st.builds(
        Caps,
        examples=st.none() | st.integers(0, 20),
        calls=st.none() | st.integers(0, 30),
        tokens=st.none() | st.integers(0, 500),
        cost=st.none() | st.floats(0, 30),
    ),
)
def test_a_crash_anywhere_overspends_nothing_and_forgets_nothing(
    crashes: list[tuple[int, bool]], caps: Caps, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    names = [str(number) for number in range(20)]
    called, paid = list[str](), set[str]()
    for crash in [*crashes, None]:
        whole = Storage.open(folder)
        storage = whole
        if crash is not None:
            storage = CrashingStorage(whole.uri, whole.fs, whole.root, list(crash))
        before = len(called)
        with suppress(Crash):
            work(*opened(storage, caps), names, called)
        log, store = opened(whole, caps)
        total = log.summary()["total"]
        stored = set(store.index(store.segments()))
        within(caps, total)
        assert total["calls"] >= len(called)  # a crash may come before the call was made
        tokens = total["prompt_tokens"] + total["completion_tokens"] + total["held_tokens"]
        assert tokens >= 8 * len(called)
        assert not paid & set(called[before:]), "a stored answer was asked for again"
        assert paid <= stored
        paid = stored
    answers = store.read(store.index(store.segments()))
    assert {name: answer.text for name, answer in answers.items()} == {
        name: f"answer to {name}" for name in paid
    }


def send(
    log: DurableLedger,
    store: ResponseStore,
    names: Sequence[str],
    start: str,
    crash: tuple[int, bool],
    called: list[str],
) -> None:
    """Ask as an engine of a server does: it notes each call before it sends it.

    It crashes at one of the calls: after its note, or after it was sent.
    """
    journal = Journal(store.for_engines().path())
    for first in range(0, len(names), 4):
        window = names[first : first + 4]
        asked = [replace(r, call=f"{start} {r.request_id}") for r in reserve(*window)]
        grants, where = log.reserve(asked)
        wanted = [name for name in grants.granted if name not in where]
        for name in wanted:
            journal.note(name, f"{start} {name}")
            if crash == (len(called), False):
                raise Crash
            called.append(name)
            if crash == (len(called), True):
                raise Crash
            segment = journal.append(completion(name))
            log.settle(settle(name), segment)


@settings(max_examples=30, deadline=None)
@given(
    crashes=st.lists(
        st.tuples(st.integers(1, 12), st.booleans(), st.integers(0, 20), st.booleans()), max_size=6
    )
)
def test_after_any_crash_the_ledger_counts_what_was_sent(
    crashes: list[tuple[int, bool, int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = Storage.open(tmp_path_factory.mktemp("run"))
    names, called = [str(number) for number in range(12)], list[str]()
    for number, crash in enumerate(crashes):
        storage = CrashingStorage(whole.uri, whole.fs, whole.root, list(crash[:2]))
        with suppress(Crash):
            log, store = opened(storage, Caps())
            log.release_unsent()
            send(log, store, names, str(number), crash[2:], called)
        log, store = opened(whole, Caps())
        log.release_unsent()
        calls = log.summary()["total"]["calls"]
        assert len(called) <= calls <= len(called) + number + 1  # one was in flight at each crash
    log, store = opened(whole, Caps())
    send(log, store, names, "last", (-1, False), called)
    total = log.summary()["total"]
    assert total["units"] == len(names)
    assert len(called) <= total["calls"] <= len(called) + len(crashes)


def test_a_missing_or_damaged_segment_is_named(tmp_path: Path) -> None:
    log, _ = opened(Storage.open(tmp_path), Caps())
    for name in "abc":
        log.reserve(reserve(name))
    segments = sorted((tmp_path / "ledger").iterdir())
    whole = segments[1].read_bytes()
    segments[1].write_bytes(whole.replace(b"sums", b"gums"))
    with pytest.raises(UserError, match=rf"{segments[1].name}, .*damaged in line 1: its checksum"):
        opened(Storage.open(tmp_path), Caps())[0].summary()
    segments[1].unlink()
    with pytest.raises(UserError, match=r"00000001.jsonl, .* is missing.*--accept-loss"):
        opened(Storage.open(tmp_path), Caps())[0].summary()
    segments[1].write_bytes(whole)
    assert opened(Storage.open(tmp_path), Caps())[0].summary()["total"]["calls"] == 3


@pytest.mark.parametrize("lost", range(6))
def test_a_ledger_without_one_of_its_segments_can_be_given_up(lost: int, tmp_path: Path) -> None:
    run = Storage.open(tmp_path)
    log, store = opened(run, Caps())
    log.reserve(reserve("a", "b"))
    log.settle(settle("a"), store.append([completion("a")]))
    log.reject([Reject("a", "wrong conclusion")])
    log.settle(settle("b"), store.append([completion("b")]))
    segments = sorted((tmp_path / "ledger").iterdir())
    assert len(segments) == 5
    if lost < 5:
        segments[lost].write_bytes(segments[lost].read_bytes()[:-30])
    else:
        segments[1].unlink()
        segments[2].unlink()
    found = ledger_damage(run)
    assert [damage.file for damage in found] == [
        str(segments[i]) for i in ([lost] if lost < 5 else [1, 2])
    ]
    for damage in found:
        damage.mend()
    assert ledger_damage(run) == []
    again, store = opened(run, Caps())
    grants, where = again.reserve(reserve("a", "b"))
    assert where.keys() == {"a", "b"}, "what is stored is not paid again"
    assert again.summary()["total"]["calls"] <= 2
    assert {*grants.granted, *grants.rejected} == {"a", "b"}


@given(domain=st.text(st.characters()), reason=st.text(st.characters()))
def test_any_domain_and_reason_survive_the_log(
    domain: str, reason: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Storage.open(tmp_path_factory.mktemp("run"))
    log, _ = opened(folder, Caps())
    log.reserve([Reserve("a", "rationale", 1, domain)])
    log.reject([Reject("a", reason)])
    again, _ = opened(folder, Caps())
    assert again.summary() == log.summary()
    assert again.summary()["by_domain"].keys() == {domain}
    assert again.summary()["total"]["rejected"] == {reason: 1}


def test_two_runs_resumed_at_every_write_equal_one_that_went_through(tmp_path: Path) -> None:
    names = [str(number) for number in range(8)]
    caps = Caps(examples=5, calls=30)
    through = Storage.open(tmp_path / "through")
    called = list[str]()
    work(*opened(through, caps), names, called)
    expected = set(called)
    for crash in range(1, 12):
        storage = Storage.open(tmp_path / str(crash))
        fault = CrashingStorage(storage.uri, storage.fs, storage.root, [crash, False])
        again = list[str]()
        with suppress(Crash):
            work(*opened(fault, caps), names, again)
        work(*opened(storage, caps), names, again)
        assert set(again) >= expected


def test_an_answer_that_was_stored_but_not_settled_is_not_paid_for_again(tmp_path: Path) -> None:
    """A worker died between the two; the ledger lived on, or died too."""
    for ledger_died in (False, True):
        log, store = opened(Storage.open(tmp_path / str(ledger_died)), Caps(examples=2))
        log.reserve(reserve("a", "b"))
        store.append([completion("a")])
        if ledger_died:
            log, store = opened(Storage.open(tmp_path / str(ledger_died)), Caps(examples=2))
        grants, where = log.reserve(reserve("a", "b"))
        assert grants.granted == ("a", "b")
        assert grants.settled == {"a"}
        assert store.read(where)["a"].text == "answer to a"
        total = log.summary()["total"]
        assert (total["units"], total["calls"]) == (2, 3)  # b twice: its call may have been made
        assert (total["prompt_tokens"], total["completion_tokens"]) == (5, 3)
        assert total["reused"] == 0


def test_a_second_run_gets_the_answers_of_the_first_at_no_call(tmp_path: Path) -> None:
    store = ResponseStore(Storage.open(tmp_path / "store"))
    caps = Caps(examples=3, calls=3)
    first = DurableLedger(Storage.open(tmp_path / "first"), store, caps)
    # opened before the first run has answers
    second = DurableLedger(Storage.open(tmp_path / "second"), store, caps)
    first.reserve(reserve("a", "b"))
    first.settle(settle("a", "b"), store.append([completion("a"), completion("b")]))
    first.reject([Reject("b", "wrong conclusion")])

    grants, where = second.reserve(reserve("a", "b", "c"))
    assert grants.granted == ("a", "b", "c")
    assert not grants.rejected  # each run judges for itself
    assert {name: answer.text for name, answer in store.read(where).items()} == {
        "a": "answer to a",
        "b": "answer to b",
    }
    total = second.summary()["total"]
    assert (total["units"], total["calls"], total["reused"]) == (3, 1, 2)
    again = DurableLedger(Storage.open(tmp_path / "second"), store, caps)
    assert again.summary() == second.summary()


def test_a_call_that_is_found_again_is_counted_once(tmp_path: Path) -> None:
    """Where a crash cut off a call whose answer its server keeps; one that failed is made anew."""
    caps = Caps(calls=3, tokens=1000)
    opened(Storage.open(tmp_path), caps)[0].reserve(reserve("a", "b"), True)
    log, store = opened(Storage.open(tmp_path), caps)
    held = log.summary()["total"]["held_tokens"]
    assert log.reserve(reserve("a", "b"), True)[0].granted == ("a", "b")
    total = log.summary()["total"]
    assert (total["calls"], total["units"], total["held_tokens"]) == (2, 2, held)
    log.settle(settle("a"), store.append([completion("a")]))
    log.reject([Reject("b", "server error")])
    log, _ = opened(Storage.open(tmp_path), caps)
    assert log.reserve(reserve("b"), True)[0].granted == ("b",)
    assert log.summary()["total"]["calls"] == 3
    assert log.reserve(reserve("b"), False)[0].refused == {"b": "calls"}


def test_what_was_not_sent_is_free_again_also_after_a_crash(tmp_path: Path) -> None:
    caps = Caps(examples=3, calls=3, tokens=60)
    log, store = opened(Storage.open(tmp_path), caps)
    log.reserve(reserve("a", "b", "c"))
    log.settle(settle("a"), store.append([completion("a")]))
    log.release([Release("b"), Release("c")])
    total = log.summary()["total"]
    assert (total["units"], total["calls"], total["held_tokens"]) == (1, 1, 0)
    again, _ = opened(Storage.open(tmp_path), caps)
    assert again.summary() == log.summary()
    assert again.reserve(reserve("b", "c"))[0].granted == ("b", "c")


def test_a_rejected_answer_is_final_and_its_unit_is_free(tmp_path: Path) -> None:
    log, store = opened(Storage.open(tmp_path), Caps(examples=1))
    log.reserve(reserve("a"))
    log.settle(settle("a"), store.append([completion("a")]))
    assert log.reserve(reserve("b"))[0].refused == {"b": "examples"}
    log.reject([Reject("a", "wrong conclusion")])
    assert log.reserve(reserve("b"))[0].granted == ("b",)
    log, store = opened(Storage.open(tmp_path), Caps(examples=1))
    grants, where = log.reserve(reserve("a", "b"))
    assert grants.rejected == {"a": "wrong conclusion"}
    assert store.read({"a": where["a"]})["a"].text == "answer to a"


def test_a_store_that_lost_answers_is_named(tmp_path: Path) -> None:
    log, store = opened(Storage.open(tmp_path), Caps())
    log.reserve(reserve("a"))
    log.settle(settle("a"), store.append([completion("a")]))
    other = ResponseStore(Storage.open(tmp_path / "other"))
    with pytest.raises(UserError, match=r"1 answers that this run paid for are not in .*/other"):
        DurableLedger(Storage.open(tmp_path / "ledger"), other, Caps()).reserve(reserve("a"))


def test_a_write_that_fails_leaves_the_ledger_as_the_log_has_it(tmp_path: Path) -> None:
    """Or units given back in memory alone would be granted again, past the cap."""
    folder = Storage.open(tmp_path)
    log, store = opened(folder, Caps(examples=1))
    log.reserve(reserve("a"))
    log.settle(settle("a"), store.append([completion("a")]))
    (tmp_path / "ledger").rename(tmp_path / "aside")
    (tmp_path / "ledger").write_text("in the way")
    with pytest.raises(OSError, match="ledger"):
        log.reject([Reject("a", "wrong conclusion")])
    (tmp_path / "ledger").unlink()
    (tmp_path / "aside").rename(tmp_path / "ledger")
    assert log.reserve(reserve("b"))[0].refused == {"b": "examples"}
    assert log.summary() == opened(folder, Caps(examples=1))[0].summary()


def test_one_that_was_thought_dead_overwrites_nothing(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    old, _ = opened(folder, Caps())
    new, _ = opened(folder, Caps())
    old.reserve(reserve("a"))
    new.reserve(reserve("b"))
    assert opened(folder, Caps())[0].summary()["total"]["calls"] == 2


def test_the_store_reads_and_indexes_many_segments(tmp_path: Path) -> None:
    store = ResponseStore(Storage.open(tmp_path))
    assert store.index(store.segments()) == {}
    assert store.read({}) == {}
    texts = {str(i): f"caf\u00e9 {i}\n" for i in range(60)}
    for start in range(0, 60, 5):
        names = [str(i) for i in range(start, start + 5)]
        store.append([completion(name, texts[name]) for name in names])
    assert len(store.segments()) == 12
    index = store.index(store.segments())
    assert index.keys() == texts.keys()
    some = {name: index[name] for name in ("3", "4", "59")}
    answers = store.read(some)
    assert {name: answer.text for name, answer in answers.items()} == {n: texts[n] for n in some}
    assert answers["3"].prompt_tokens == 5
    assert answers["3"].completion_tokens == 3


class CountingEngine:
    """A teacher in the worker's own process: it writes down each call, and dies with the worker.

    At every twelfth call of all workers together the worker is killed in the middle of it, or
    (each fourth time) the ledger is: the same number of deaths on a fast machine and a slow one.
    """

    notes_calls = False  # it dies in a call without a note

    def feed_sizes(self) -> Iterator[int]:
        return itertools.repeat(8)

    def __init__(self, folder: Path, store: ResponseStore, ledger: Any, deadly: bool) -> None:
        self.calls, self.kills = folder / "calls", folder / "kills"
        self.store, self.ledger, self.deadly = store, ledger, deadly
        self.kills.mkdir(exist_ok=True)

    def stream(
        self, requests: Any, sampling: Sampling, saved_answers: SavedAnswers
    ) -> Iterator[list[Completion]]:
        batch: list[Request] = []
        for request in requests:
            batch.append(request)
            if len(batch) == 4:
                yield self.answer(batch)
                batch = []
        if batch:
            yield self.answer(batch)

    def answer(self, batch: list[Request]) -> list[Completion]:
        stored = self.store.index(self.store.segments())
        with self.calls.open("a") as file:  # O_APPEND: lines of many processes do not mix
            for request in batch:
                file.write(f"{request.request_id} {request.request_id in stored}\n")
        if self.deadly:
            self.die_maybe()
        return [completion(r.request_id, f"re: {r.prompt}") for r in batch]

    def die_maybe(self) -> None:
        for number in range(1, len(self.calls.read_text().splitlines()) // 12 + 1):
            with suppress(FileExistsError):
                (self.kills / str(number)).touch(exist_ok=False)
                victim = os.getpid()
                if number % 4 == 3:
                    victim = ray.get(self.ledger.__ray_call__.remote(lambda _: os.getpid()))
                os.kill(victim, signal.SIGKILL)


def ask_all(
    folder: str, ledger: Any, worker: int, number: int, deadly: bool = False
) -> list[tuple[str, str]]:
    """One worker: asks its questions ten at a time; rejects some."""
    store = ResponseStore(Storage.open(f"{folder}/store"))
    engine: Any = CountingEngine(Path(folder), store, ledger, deadly)
    prompts = load_prompts("compact", model="bundled")
    teacher = Teacher(engine, ledger, store, TransformersTeacher(model="counting"), prompts)
    outcome = []
    for start in range(0, number, 10):
        questions = [
            Question(f"worker {worker} question {i}", "rationale", "sums")
            for i in range(start, min(start + 10, number))
        ]
        answers = teacher.ask(questions, Sampling(8), stage=1)
        bad = [a for a in answers if a.outcome == "answered" and int(a.request_id, 16) % 7 == 0]
        teacher.reject({answer.request_id: "wrong conclusion" for answer in bad})
        outcome += [(answer.outcome, answer.text) for answer in answers]
    return outcome


@pytest.mark.ray
@pytest.mark.slow
def test_killed_workers_and_ledgers_overspend_nothing(ray_session: None, tmp_path: Path) -> None:
    workers, number, cap = 8, 30, 150
    store = ResponseStore(Storage.open(tmp_path / "store"))
    # far from the last three, so that only the first ends the work; all are counted
    caps = Caps(examples=cap, calls=2_000, tokens=2_000_000, cost=2e6)
    ledger = start_ledger(Storage.open(tmp_path / "ledger"), store, caps, PRICES)
    remote = ray.remote(ask_all).options(num_cpus=0.25, max_retries=-1)
    running = [
        remote.remote(str(tmp_path), ledger, worker, number, True) for worker in range(workers)
    ]
    results = [answer for result in ray.get(running) for answer in result]
    summary = ray.get(ledger.summary.remote())
    ray.kill(ledger)
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    assert len(list((tmp_path / "kills").iterdir())) >= 12
    assert not [name for name, stored in calls if stored == "True"], "asked again though stored"
    within(caps, summary["total"])
    assert summary["total"]["calls"] >= len(calls)
    index = store.index(store.segments())
    replayed = DurableLedger(Storage.open(tmp_path / "ledger"), store, caps, PRICES)
    assert replayed.summary() == summary
    answers = store.read(index)
    assert {name for name, _ in calls} >= answers.keys()
    told = [text for standing, text in results if standing != "refused"]
    assert len(results) == workers * number
    assert sorted(told) == sorted(answer.text for answer in answers.values())
    assert len(told) >= cap * 0.9  # open reservations of killed workers may be asked for again


@pytest.mark.ray
def test_asking_twice_makes_no_new_call(ray_session: None, tmp_path: Path) -> None:
    store = ResponseStore(Storage.open(tmp_path / "store"))
    ledger = start_ledger(Storage.open(tmp_path / "ledger"), store, Caps(examples=50))
    first = ask_all(str(tmp_path), ledger, 0, 30)
    calls = (tmp_path / "calls").read_text()
    second = ask_all(str(tmp_path), ledger, 0, 30)
    assert [text for _, text in first] == [text for _, text in second]
    assert (tmp_path / "calls").read_text() == calls
    assert {standing for standing, _ in second} == {"answered", "rejected"}
    ray.kill(ledger)


@pytest.mark.ray
def test_two_workers_under_a_cap_on_tokens_stop_within_a_call_of_it(
    ray_session: None, tmp_path: Path
) -> None:
    """One after the other: the second finds what the first left."""
    store = ResponseStore(Storage.open(tmp_path / "store"))
    caps = Caps(tokens=1_000)
    ledger = start_ledger(Storage.open(tmp_path / "ledger"), store, caps)
    outcomes = [ask_all(str(tmp_path), ledger, worker, 40) for worker in (0, 1)]
    total = ray.get(ledger.summary.remote())["total"]
    ray.kill(ledger)
    refused = [standing for outcome in outcomes for standing, _ in outcome].count("refused")
    assert total["calls"] == 80 - refused
    assert total["held_tokens"] == 0
    assert 1_000 - 600 < total["prompt_tokens"] + total["completion_tokens"] <= 1_000
