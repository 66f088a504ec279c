"""The searcher: trials from the record first, the cap holds, failures end nothing."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from baldistill.config import Config
from baldistill.config.loading import dump_config, load_config
from baldistill.core.ledger import Reserve, to_record
from baldistill.errors import ResourceError
from baldistill.progress.display import Display
from baldistill.storage import Storage
from baldistill.tune.plan import make_plan
from baldistill.tune.points import Listed
from baldistill.tune.record import TrialRecord, read_records, spent_by, stage_results
from baldistill.tune.search import RecordedSearch
from baldistill.tune.space import parse_space
from baldistill.tune.trial import failure_of

SPACE = """
search: grid
seed: 5  # which leaves three points in their order
parameters: {student.epochs: {kind: choice, values: [1, 2, 3]}}
"""
METRICS = {"macro": 0.5, "micro": 0.4, "natural": 0.3, "head": 0.6, "tail": 0.4}


class Learner(Listed):
    """Remembers the scores that it learnt."""

    def __init__(self, points: Any) -> None:
        super().__init__(points)
        self.learnt: list[Any] = []

    def tell(self, point: Any, scores: Any) -> None:
        self.learnt.append((point["student.epochs"], scores))  # of a choice, the value's number


class Sweep:
    """A searcher in a folder, and a stand-in for the trials that Ray Tune would run."""

    def __init__(self, folder: Path, slots: int = 1, most: int = 0, **changes: Any) -> None:
        self.folder = Storage.open(folder)
        plan = make_plan(load_config(), parse_space(SPACE, "test", changes))
        self.source = Learner(plan.points)
        self.refused: set[str] = set()

        def forecast(record: TrialRecord, config: Config) -> int:
            if record.name in self.refused:
                raise ResourceError("it does not fit")
            return most

        self.search = RecordedSearch(
            plan,
            self.source,
            self.folder,
            forecast=forecast,
            slots=slots,
            display=Display(quiet=True),
        )

    def suggest(self, trial_id: str) -> Any:
        return self.search.suggest(trial_id)

    def end(self, trial_id: str, name: str, *, stages: int = 4, calls: int = 0) -> None:
        run = self.folder.sub(f"trials/{name}")
        for stage in range(1, stages + 1):
            metrics = {**METRICS, "per_domain": {}}
            run.write_json(f"_commits/stages/{stage:02d}/metrics.json", {"figures": metrics})
        entries = [Reserve(f"{name}-{n}", "rationale", 1, "d") for n in range(calls)]
        lines = "".join(json.dumps(to_record(entry)) + "\n" for entry in entries)
        if lines:
            run.write_text("ledger/00000000-x.jsonl", lines)
        run.write_text("config.yaml", dump_config(load_config()))
        result = {**METRICS, "progress": 25.0 * stages, "stage": stages}
        self.search.on_trial_result(trial_id, result)
        self.search.on_trial_complete(trial_id, result)

    def standings(self) -> dict[str, str]:
        return {name: record.standing for name, record in read_records(self.folder).items()}


def test_every_trial_is_recorded_before_it_starts_and_when_it_ends(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    chosen = sweep.suggest("a")
    assert chosen == {"trial": "t001", "slot": 0, "student.epochs": 1}
    assert sweep.standings() == {"t001": "running"}
    sweep.end("a", "t001", calls=7)
    sweep.suggest("b")
    sweep.end("b", "t002", stages=2)
    sweep.suggest("c")
    assert sweep.suggest("d") == Searcher.FINISHED
    (tmp_path / "trials" / "t003").mkdir(parents=True)
    (tmp_path / "trials" / "t003" / "failure.txt").write_text("no such layer")
    sweep.search.on_trial_complete("c", None, error=True)
    assert sweep.standings() == {"t001": "done", "t002": "stopped", "t003": "failed"}
    assert read_records(sweep.folder)["t002"].reason == "weak after stage 2"
    assert read_records(sweep.folder)["t003"].reason == "no such layer"
    assert sweep.source.learnt == [(0, [0.5]), (1, [0.5]), (2, None)]
    assert spent_by(sweep.folder, "t001").calls == 7
    assert [stage for stage, _ in stage_results(sweep.folder, "t002")] == [1, 2]


def test_a_dead_process_leaves_a_reason_too(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.suggest("a")
    sweep.search.on_trial_complete("a", None, error=True)
    assert failure_of(sweep.folder, "t001") is None
    assert "trials/t001/log.txt" in read_records(sweep.folder)["t001"].reason


def test_a_resumed_sweep_hands_out_the_recorded_trials_first(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    for trial_id, name in (("a", "t001"), ("b", "t002")):
        first.suggest(trial_id)
        if name == "t001":
            first.end(trial_id, name)  # and t002 is killed
    again = Sweep(tmp_path)
    assert again.suggest("c")["trial"] == "t001"
    again.search.on_trial_complete("c", {"progress": 25.0, "stage": 1, **METRICS})
    assert again.standings()["t001"] == "done", "what a replay looks like changes no record"
    assert again.suggest("d") == {"trial": "t002", "slot": 0, "student.epochs": 2}
    assert again.source.learnt == [(0, [0.5])], "the source learns of recorded trials"


def test_trials_side_by_side_have_engines_of_their_own(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, slots=2)
    assert [sweep.suggest("a")["slot"], sweep.suggest("b")["slot"]] == [0, 1]
    sweep.end("a", "t001")
    assert sweep.suggest("c")["slot"] == 0


def test_a_trial_that_could_break_the_cap_is_not_started(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, most=60, calls=100)
    sweep.suggest("a")
    assert read_records(sweep.folder)["t001"].cap == 60, "its own budget.calls keeps it there"
    sweep.end("a", "t001", calls=40)
    sweep.suggest("b")
    sweep.end("b", "t002", calls=10)
    assert sweep.suggest("c") == Searcher.FINISHED
    assert sweep.standings() == {"t001": "done", "t002": "done", "t003": "skipped"}
    reason = read_records(sweep.folder)["t003"].reason
    assert "60 times and 50 of the sweep's 100 calls are left" in reason
    raised = Sweep(tmp_path, most=60, calls=110)
    for trial_id in "de":
        raised.suggest(trial_id)
        raised.search.on_trial_complete(trial_id, {"progress": 100.0, "stage": 4, **METRICS})
    assert raised.suggest("f")["trial"] == "t003", "with a higher cap it is started"


def test_a_started_trial_goes_on_under_the_cap_that_it_began_with(tmp_path: Path) -> None:
    first = Sweep(tmp_path)
    first.suggest("a")
    first.end("a", "t001", calls=30)
    first.suggest("b")  # which is killed
    (tmp_path / "trials" / "t002").mkdir(parents=True)
    (tmp_path / "trials" / "t002" / "config.yaml").write_text("budget: {calls: null}")
    capped = Sweep(tmp_path, slots=2, most=60, calls=100)
    capped.suggest("c")
    assert capped.suggest("d")["trial"] == "t002", "t001 has paid 30 calls and pays no more"
    capped.search.on_trial_complete("c", {"progress": 100.0, "stage": 4, **METRICS})
    assert read_records(capped.folder)["t002"].cap is None, "its config.yaml says so"
    assert capped.suggest("e") is None, "it may pay 60"
    capped.end("d", "t002", calls=5)
    assert capped.suggest("e")["trial"] == "t003"
    assert read_records(capped.folder)["t003"].cap == 60
    (tmp_path / "trials" / "t003" / "config.yaml").parent.mkdir()
    (tmp_path / "trials" / "t003" / "config.yaml").write_text("budget: {calls: 60}")
    again = Sweep(tmp_path, slots=3, most=70, calls=100)  # a forecast of another version
    assert [again.suggest(trial_id)["trial"] for trial_id in "fgh"] == ["t001", "t002", "t003"]
    assert read_records(again.folder)["t003"].cap == 60


def test_the_ledger_of_a_trial_that_ended_is_read_once(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, most=60, calls=150)
    sweep.suggest("a")
    sweep.end("a", "t001", calls=50)
    sweep.suggest("b")
    (tmp_path / "trials" / "t001" / "ledger" / "00000000-x.jsonl").unlink()
    sweep.end("b", "t002", calls=50)
    assert sweep.suggest("c") == Searcher.FINISHED
    assert "50 of the sweep's 150 calls are left" in read_records(sweep.folder)["t003"].reason


def test_side_by_side_a_trial_waits_for_what_others_may_give_back(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, slots=2, most=60, calls=100)
    sweep.suggest("a")
    assert sweep.suggest("b") is None
    sweep.end("a", "t001", calls=40)
    assert sweep.suggest("b")["trial"] == "t002"


def test_a_trial_that_does_not_fit_is_told_and_the_next_one_starts(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.refused = {"t001"}
    assert sweep.suggest("a")["trial"] == "t002"
    assert read_records(sweep.folder)["t001"].reason == "it does not fit"
    assert sweep.source.learnt == [(0, None)]


def test_nothing_of_the_searcher_is_pickled(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.suggest("a")
    assert len(pickle.dumps(sweep.search)) < 200
    sweep.search.save(str(tmp_path / "state"))
    assert (tmp_path / "state").read_text() == "{}"
    with pytest.raises(NotImplementedError):
        sweep.search.restore(str(tmp_path / "state"))
