"""The example package, as installed: found by its names and by its entry points."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from plugins import PLUGIN, install_plugin

from baldistill.cli.options import config_of
from baldistill.commands.evaluate import config_of_run
from baldistill.commands.inputs import check_own_parts
from baldistill.config import Config
from baldistill.config.loading import dump_config, load_config
from baldistill.core.answers import extract
from baldistill.core.label_sets import Labels
from baldistill.core.metrics import DomainScore, over_domains
from baldistill.core.own_filter import OwnFilter, TeacherAnswer, own_fault
from baldistill.core.own_metrics import check_own_metrics, own_metrics
from baldistill.core.own_parts import OwnPartError
from baldistill.core.own_score import Candidate, OwnScore, own_scores
from baldistill.equality import is_accepted
from baldistill.errors import ConfigError, UserError
from baldistill.method.plan import plan_all
from baldistill.method.select import _score_by_own
from baldistill.records import SCORED, Example
from baldistill.storage import Storage
from baldistill.student.answer import conclusion_of, mark
from baldistill.teacher.acceptance import Acceptance
from baldistill.teacher.judge import Judge
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.parsing import NewExample
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.question import Answer
from baldistill.teacher.votes import Poll

COUNTS = {"a": 700, "b": 200, "c": 60, "d": 30, "e": 10}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["temperature", "baldistill_temperature:Temperature"])
def test_an_installed_policy_shares_the_budget(kind: str) -> None:
    config = load_config(None, [f"budget.policy={kind}", "budget.total=401", "stages=2"])
    plans = plan_all(config, COUNTS)
    assert [sum(plan.quotas.values()) for plan in plans] == [201, 200]
    assert 2 < plans[0].quotas["a"] / plans[0].quotas["e"] < 70**0.25
    even = load_config(None, [f"budget.policy={{kind: '{kind}', options: {{temperature: 1000}}}}"])
    assert set(plan_all(even, COUNTS)[0].quotas.values()) == {60}


@pytest.mark.usefixtures("installed")
def test_its_config_can_be_written_and_read_again() -> None:
    config = load_config(PLUGIN / "quickstart.yaml", ["budget.policy.options.temperature=7"])
    again = load_config(None, [])
    assert config != again
    text = json.dumps(config.model_dump(mode="json"))
    assert Config.model_validate_json(text) == config
    assert "temperature: 7" in dump_config(config)


@pytest.mark.usefixtures("installed")
def test_options_that_it_refuses_are_an_error_for_the_user() -> None:
    options = "{kind: temperature, options: {temperature: 0.5}}"
    config = load_config(None, [f"budget.policy={options}"])
    with pytest.raises(ConfigError, match=r"budget.policy: temperature refuses .* at least 1"):
        plan_all(config, COUNTS)


@pytest.mark.usefixtures("installed")
def test_reading_a_config_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "baldistill_temperature", raising=False)
    load_config(PLUGIN / "quickstart.yaml")
    load_config(None, ["budget.policy=temperature"])
    assert "baldistill_temperature" not in sys.modules


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["gap", "baldistill_temperature:Gap"])
def test_an_installed_metric_measures(kind: str) -> None:
    scores = {"a": DomainScore(0.9, 10), "b": DomainScore(0.2, 10)}
    metrics = over_domains("accuracy", scores, 0.55, COUNTS, {"a"})
    assert own_metrics({"mine": kind}, metrics, COUNTS) == {"mine": pytest.approx(0.7)}
    assert "own" not in metrics.to_dict(), "a run without metrics of users has the files it had"


class Odd:
    def __init__(self, value: object = None) -> None:
        self.value = value

    def measure(self, scores: object, counts: object) -> object:
        return self.value


def test_what_is_no_figure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = over_domains("accuracy", {"a": DomainScore(0.9, 10)}, 0.9, COUNTS, {"a"})
    with pytest.raises(OwnPartError, match="measure must return a finite number, not None"):
        own_metrics({"odd": f"{__name__}:Odd"}, metrics, COUNTS)
    with pytest.raises(OwnPartError, match="os:system is no class with a method measure"):
        check_own_metrics({"odd": "os:system"})


def test_what_is_not_installed_is_named() -> None:
    config = load_config(None, ["budget.policy=no_such_package:Name"])
    with pytest.raises(
        ConfigError, match=r"budget.policy: no_such_package:Name cannot be imported"
    ):
        plan_all(config, COUNTS)
    with pytest.raises(ConfigError, match=r"'adaptiv' is none of .* did you mean adaptive"):
        load_config(None, ["budget.policy=adaptiv"])
    with pytest.raises(
        ConfigError, match=r"budget.policy: options.questions must be a whole number"
    ):
        load_config(None, ["budget.policy={kind: 'a:B', options: {questions: many}}"])
    with pytest.raises(ConfigError, match=r"budget.policy.optons: unknown key; did you mean"):
        load_config(None, ["budget.policy={kind: 'a:B', optons: {}}"])


def test_a_folder_that_others_can_write_to_does_not_say_what_is_run(tmp_path: Path) -> None:
    config = load_config(None, ["budget.policy=no_such_package:Name"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert config_of(None, str(tmp_path), None, spends=False) == config
    (tmp_path / "config.yaml").chmod(0o666)
    with pytest.raises(ConfigError, match=r"every user, and its budget.policy runs the code no_su"):
        config_of(None, str(tmp_path), None, spends=False)
    metric = load_config(None, ["evaluation.metrics={mine: 'no_such_package:Name'}"])
    (tmp_path / "config.yaml").write_text(dump_config(metric))
    with pytest.raises(ConfigError, match=r"its evaluation.metrics runs the code no_such_package"):
        config_of_run(str(tmp_path), [])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("task", ["percent", "baldistill_temperature:Percent"])
def test_an_installed_task_type_finds_and_compares_answers(task: str) -> None:
    config = load_config(
        None, [f"data.task={task}", f"data.domain_tasks={{b: {{kind: {task!r}}}}}"]
    )
    assert (config.task_of("a"), config.task_of("b")) == (task, task)
    assert Config.model_validate_json(config.model_dump_json()) == config
    check_own_parts(config)
    assert extract(task, "From 10 % to 25.0 %, as asked.") == "25 %"
    assert extract(task, "A quarter.") is None
    assert is_accepted(task, "25 %", ["a fifth", "25.05%"])
    assert not is_accepted(task, "25 %", ["26 %"])
    assert not is_accepted(task, None, ["25 %"])
    judge = Judge(config, Labels())
    assert judge.agrees(NewExample("Q?", "", "25 %"), "a", "It is 25 %.") is True
    assert judge.agrees(NewExample("Q?", "", "25 %"), "a", "It is 2 %.") is False


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["longest", "baldistill_temperature:Longest"])
def test_an_installed_score_ranks_candidates(kind: str, tmp_path: Path) -> None:
    config = load_config(None, [f"selection.metric={{kind: {kind!r}, options: {{most: 7}}}}"])
    assert config.selection.metric == OwnScore(kind, {"most": 7})
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert load_config(None, [f"selection.metric={kind}"]).selection.metric == OwnScore(kind)
    check_own_parts(config)
    storage = Storage.open(tmp_path)
    rows = [
        {"example_id": f"{number}", "domain": "a", "question": "Q?", "answer": "A"}
        | {"score": 0.5, "response": "R" * number, "num_tokens": number}
        for number in (3, 9, 5)
    ]
    rows.append({**rows[0], "example_id": "failed", "error": "no answer"})
    rows.append({**rows[0], "example_id": "unasked", "response": None, "score": 0.25})
    storage.write_table("scored/0.parquet", pa.Table.from_pylist(rows, schema=SCORED))
    _score_by_own(OwnScore(kind, {"most": 7}), None, storage, "scored")
    found = {row["example_id"]: row["score"] for row in storage.read_table("scored").to_pylist()}
    assert {name: found[name] for name in ("3", "5", "unasked")} == {
        "3": 3,
        "5": 5,
        "unasked": 0.25,
    }
    assert np.isnan(found["9"])
    assert np.isnan(found["failed"])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ["brief", "baldistill_temperature:Brief"])
def test_an_installed_filter_rejects_what_is_otherwise_good(kind: str) -> None:
    brief = f"{{kind: {kind!r}, options: {{words: 3}}}}"
    config = load_config(None, [f"rationale.filter={brief}", f"tail.filter={brief}"])
    assert config.own_filters == dict.fromkeys(
        ("rationale.filter", "tail.filter"), OwnFilter(kind, {"words": 3})
    )
    assert Config.model_validate_json(config.model_dump_json()) == config
    assert load_config(None, [f"tail.filter={kind}"]).tail.filter == OwnFilter(kind)
    assert load_config(None, []).own_filters == {}
    check_own_parts(config)
    example = Example("e-7", "a", "Q?", "6")
    acceptance = Acceptance(config, load_prompts("compact", model="bundled"))
    texts = ("2 + 4.\nAnswer: 6", "2 + 4 makes 6.\nAnswer: 6", "2 + 4 makes 7.\nAnswer: 7")
    faults = [acceptance.fault(example, Answer("r", "answered", text)) for text in texts]
    assert faults == [None, "filtered: too many words", "wrong conclusion"]
    evaluated = replace(acceptance, is_taught=False)
    assert evaluated.fault(example, Answer("r", "answered", texts[1])) is None
    judge = Judge(config, Labels())
    known = ExistingQuestions(0.9, ["Q?"])
    short, long = (NewExample("New one?", rationale, "6") for rationale in ("2 + 4", "a b c d"))
    assert [judge.fault(example, "a", known) for example in (short, long)] == [None, None]
    assert judge.filtered(short, "a") is None
    assert judge.filtered(long, "a") == "filtered: too many words"


@pytest.mark.usefixtures("installed")
def test_an_answer_that_a_filter_rejects_has_no_vote() -> None:
    brief = "{kind: brief, options: {words: 3}}"
    majority = "rationale={sees: question, accept: majority, votes: 3, filter: " + brief + "}"
    acceptance = Acceptance(load_config(None, [majority]), load_prompts("compact", model="bundled"))
    example = Example("e-7", "a", "Q?", "")
    long, short = "2 + 4 makes 6.\nAnswer: 6", "2 + 5.\nAnswer: 7"
    poll = Poll(example, acceptance)
    for number, text in enumerate((long, short, short)):
        poll.add(Answer(f"r{number}", "answered", text))
    accepted = poll.accepted()
    assert accepted is not None
    assert (accepted.answer, accepted.rationale) == ("7", "2 + 5.")
    without = Poll(example, acceptance)
    without.add(Answer("r0", "answered", long))
    without.add(Answer("r1", "answered", long))
    assert without.accepted() is None
    assert without.rejected()[1] == "filtered: too many words"


def test_a_filter_and_what_it_may_not_be() -> None:
    keep = "rationale={on_mismatch: keep, filter: 'a:B'}"
    with pytest.raises(ConfigError, match=r"on_mismatch=keep would teach what your filter rejects"):
        load_config(None, [keep])
    with pytest.raises(ConfigError, match=r"rationale.filter.*one of your own .*'shrt'"):
        load_config(None, ["rationale.filter=shrt"])
    with pytest.raises(ConfigError, match=r"tail.filter: os:system is no class with a method fau"):
        check_own_parts(load_config(None, ["tail.filter=os:system"]))
    answer = TeacherAnswer("real", "a", "Q?", "Why.", "A")
    for reason in (True, "", " ", "w" * 81):
        part = OwnFilter(f"{__name__}:Saying", {"reason": reason})
        with pytest.raises(OwnPartError, match="fault must return None or a reason of at most 80"):
            own_fault(part, answer)
    assert own_fault(OwnFilter(f"{__name__}:Saying", {"reason": None}), answer) is None


class Saying:
    """A filter that says what it is told to."""

    def __init__(self, reason: object) -> None:
        self.reason = reason

    def fault(self, answer: object) -> object:
        return self.reason


class Raising:
    """A part of each kind that has a defect."""

    def __init__(self, **options: object) -> None:
        if "made" in options:
            raise RuntimeError("not made")

    def quotas(self, stage: object) -> object:
        raise KeyError("quotas")

    def measure(self, scores: object, counts: object) -> object:
        raise ZeroDivisionError("measure")

    def score(self, candidate: object) -> object:
        raise AttributeError("score")

    def fault(self, answer: object) -> str | None:
        raise LookupError("fault")

    def extract(self, text: str, choices: object, question: object) -> str | None:
        if "harm" in text:
            raise IndexError("extract")
        return text

    def equal(self, a: str, b: str) -> bool:
        raise TypeError("equal")


def told(name: str, method: str, kind: str) -> str:
    """Return what must be said of an error: part, method, type, text, line and fix."""
    return (
        rf"{name}{__name__}:Raising: {method} raised {kind}: \W?{method}\W? "
        rf"\(.*test_plugin\.py, line \d+\): mend the class, and give the same command again"
    )


def test_what_a_part_raises_is_an_error_for_the_user() -> None:
    part = f"{__name__}:Raising"
    config = load_config(None, [f"budget.policy={part}"])
    with pytest.raises(ConfigError, match=told("budget.policy: ", "quotas", "KeyError")):
        plan_all(config, COUNTS)
    metrics = over_domains("accuracy", {"a": DomainScore(0.9, 10)}, 0.9, COUNTS, {"a"})
    with pytest.raises(UserError, match=told("", "measure", "ZeroDivisionError")):
        own_metrics({"mine": part}, metrics, COUNTS)
    candidate = Candidate("e-7", "a", "Q?", "A", "R", 1, None, None, None, None)
    with pytest.raises(UserError, match=told("example e-7: ", "score", "AttributeError")):
        own_scores(OwnScore(part), [candidate])
    config = load_config(None, [f"rationale.filter={part}", f"tail.filter={part}"])
    acceptance = Acceptance(config, load_prompts("compact", model="bundled"))
    with pytest.raises(UserError, match=told("example e-7: ", "fault", "LookupError")):
        acceptance.fault(Example("e-7", "a", "Q?", "A"), Answer("r", "answered", "W.\nAnswer: A"))
    new = told(r"example \(new, of domain a\): ", "fault", "LookupError")
    with pytest.raises(UserError, match=new):
        Judge(config, Labels()).filtered(NewExample("Q?", "W", "A"), "a")
    options = f"{{kind: '{part}', options: {{made: 1}}}}"
    config = load_config(None, [f"selection.metric={options}"])
    with pytest.raises(
        ConfigError, match=r"selection\.metric: .*__init__ raised RuntimeError: not"
    ):
        check_own_parts(config)


def test_what_a_task_type_raises_names_the_example() -> None:
    config = load_config(None, [f"data.task={__name__}:Raising"])
    row = {"example_id": "e-7", "domain": "a", "question": "Q?", "answer": "A", "choices": None}
    prompts = load_prompts("compact", model="bundled")
    extracting = told("example e-7: ", "extract", "IndexError")
    comparing = told("example e-7: ", "equal", "TypeError")
    with pytest.raises(UserError, match=extracting):
        conclusion_of(row, "harm", prompts, config)
    with pytest.raises(UserError, match=comparing):
        mark(row, "A", config)
    example, acceptance = Example("e-7", "a", "Q?", "A"), Acceptance(config, prompts)
    with pytest.raises(UserError, match=extracting):
        acceptance.fault(example, Answer("r", "answered", "harm"))
    with pytest.raises(UserError, match=comparing):
        acceptance.fault(example, Answer("r", "answered", "Why.\nAnswer: A"))
    with pytest.raises(UserError, match=comparing):
        acceptance.compare(example, "A", "B")


def test_what_its_module_raises_is_an_error_for_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_with_a_defect.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match=r"its import raised ZeroDivisionError: .*, line 1"):
        check_own_parts(load_config(None, ["data.task=module_with_a_defect:Name"]))


class Broken:
    def score(self, candidate: object) -> object:
        return "high"

    def extract(self, *arguments: object) -> object:
        return 7


def test_scores_and_task_types_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    broken = f"{__name__}:Broken"
    for key, kind, message in (
        ("selection.metric", "os:system", "is no class with a method score"),
        ("selection.metric", "no_such_package:Name", "cannot be imported"),
        ("data.task", "os:system", "is no class with a method extract"),
        ("data.task", broken, "has no method equal"),
    ):
        with pytest.raises(ConfigError, match=f"{key}: {kind} {message}"):
            check_own_parts(load_config(None, [f"{key}={kind}"]))
    candidate = Candidate("1", "a", "Q?", "A", "R", 1, None, None, None, None)
    with pytest.raises(OwnPartError, match="score must return a finite number or None, not 'high'"):
        own_scores(OwnScore(broken), [candidate])
    with pytest.raises(ConfigError, match=r"selection.metric: ifd has no options: its own stand"):
        load_config(None, ["selection.metric={kind: ifd, options: {most: 7}}"])
    for key in ("selection.metric", "data.task", "rationale.filter", "tail.filter"):
        with pytest.raises(ConfigError, match=rf"{key}: must be (.* or )?one of your own .*'wrng'"):
            load_config(None, [f"{key}=wrng"])
        config = load_config(None, [f"{key}=no_such_package:Name"])
        (tmp_path / "config.yaml").write_text(dump_config(config))
        (tmp_path / "config.yaml").chmod(0o666)
        with pytest.raises(ConfigError, match=rf"its {key} runs the code no_such_package:Name"):
            config_of_run(str(tmp_path), [])
