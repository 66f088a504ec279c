"""Rationales and synthesis by a scripted teacher behind real actors: judged, resumed, capped."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from plugins import EvenAnswers

from baldistill.answers.completion import Completion
from baldistill.answers.store import ResponseStore
from baldistill.config import Config
from baldistill.config.engines import TransformersOptions
from baldistill.config.teachers import TransformersTeacher
from baldistill.core.label_sets import Labels
from baldistill.core.ledger import Caps, Prices
from baldistill.generation.engine import OnEnded, ignore_ended
from baldistill.generation.pool import EngineActor, Pool
from baldistill.generation.types import ModelRef, Request, Sampling, max_prompt_tokens
from baldistill.records import AnnotatedExample, Example, RejectedAnswer, digest
from baldistill.storage import Storage
from baldistill.teacher.ledger_actor import DurableLedger, start_ledger
from baldistill.teacher.near_duplicates import ExistingQuestions
from baldistill.teacher.parsing import NewExample
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.rationale import Explained, explain
from baldistill.teacher.synthesis import Synthesized, TailDomain, synthesize
from baldistill.teacher.teacher import Question, Teacher

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

PRICES = (Prices(1_000, 2_000), Prices(10_000, 20_000))
PROMPTS = load_prompts("compact", model="bundled")
LONG = "Ann, Bob and Cay each buy one of the many things that are on sale in this very long shop"


class ScriptedEngine:
    """A teacher whose answer is a function of the prompt, the seed and the temperature."""

    def load(self, model: ModelRef) -> None:
        self._calls = Path(model.name)

    def score(self, token_ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        raise AssertionError("nobody asks a teacher for scores")

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, on_ended: OnEnded = ignore_ended
    ) -> list[Completion]:
        with self._calls.open("a") as file:
            file.writelines(f"{request.request_id}\n" for request in requests)
        return [self._answer(request, sampling) for request in requests]

    def _answer(self, request: Request, sampling: Sampling) -> Completion:
        text = self.text(str(request.prompt), request.seed, sampling.temperature > 0)
        tokens = np.zeros(len(text.split()), np.int32)
        logprobs = np.zeros(len(tokens), np.float32)
        error = "no answer" if text == "ERROR" and self._first_time(request) else None
        mute = text == "It is hard to say" and sampling.temperature > 0
        finish = "length" if mute or text.endswith("7,}") else "stop"
        return Completion(request.request_id, text, tokens, logprobs, 7, finish, error=error)

    def _first_time(self, request: Request) -> bool:
        return self._calls.read_text().count(request.request_id) == 1

    def text(self, prompt: str, seed: int, sampled: bool) -> str:
        if prompt.startswith("Domain: "):
            return self.new_example(prompt.split()[1], seed)
        question = prompt.splitlines()[0].removeprefix("Question: ")
        if sums := re.fullmatch(r".*What is (\d+) plus (\d+)\?", question):
            return f"Adding.\nAnswer: {int(sums[1]) + int(sums[2])}"
        if torn := re.fullmatch(r"A (rash|lucky) (\d+)\?", question):
            right = sampled == (torn[1] == "rash")
            return f"So.\nAnswer: {torn[2] if right else 'no idea'}"
        gold = prompt.splitlines()[1].removeprefix("Gold answer: ")
        kind = question.split()[0]
        return {
            "good": f"Because.\nAnswer: {gold}",
            "late": f"<think>\nAnswer: none?\n</think>\n\nAt last.\nAnswer: {gold}"
            if sampled
            else "Hm.\nAnswer: no idea",
            "never": f"Wrong{' again' * sampled}.\nAnswer: no idea",
            "mute": "It is hard to say",
            "bare": f"Answer: {gold}",
            "broken": "ERROR",
        }[kind]

    def new_example(self, domain: str, seed: int) -> str:
        a, b = seed % 997, seed % 89
        if domain in ("rash", "lucky"):
            return f"Question: A {domain} {seed}?\nSo.\nAnswer: {seed}"
        if domain == "slips":  # JSON with a comma too many; every third answer is cut off there
            end = "," if seed % 3 else ", 7,"
            return f'{{"question": "Is {seed} big?", "rationale": "So.", "answer": "{a}"{end}}}'
        match -1 if domain == "dry" else seed % 8:
            case 0:
                return "I cannot think of anything"
            case 1:
                return "Question: Known?\nYes.\nAnswer: yes"
            case 2:
                return f"Question: {LONG} today?\nYes.\nAnswer: yes"
            case 3:
                return "Question: Evaluated?\nYes.\nAnswer: yes"
            case 4:
                return f"Question: What is {a} plus {b}?\nOops.\nAnswer: {a + b + 1}"
            case -1:
                return "Question: What is 1 plus 1?\nAdding.\nAnswer: 2"
            case _:
                return f"Question: What is {a} plus {b}?\nAdding.\nAnswer: {a + b}"


class ScriptedActor(EngineActor):
    """The pool's actor with the scripted engine."""

    def __init__(self) -> None:
        super().__init__(TransformersOptions())
        self._engine = ScriptedEngine()


class RestartedLedger(DurableLedger):
    """The ledger's actor, which can be begun anew in the process that is there."""

    def restart(self, *arguments: Any) -> None:
        super().__init__(*arguments)


@pytest.fixture(scope="module")
def actors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, ...]]:
    """The ledger and two engines, shared by all tests."""
    folder = Storage.open(tmp_path_factory.mktemp("unused"))
    ledger = ray.remote(RestartedLedger).options(num_cpus=0)
    engine = ray.remote(concurrency_groups={"reports": 1})(ScriptedActor).options(num_cpus=0)
    store = ResponseStore(folder.sub("store"))
    started = (ledger.remote(folder, store, Caps()), engine.remote(), engine.remote())
    yield started
    for actor in started:
        ray.kill(actor)


@dataclass
class Lab:
    """A run's folder; every `teacher` is that of a run started anew in it."""

    folder: Path
    pool: Pool
    ledger: Any
    caps: Caps
    store: Path

    def teacher(self) -> Teacher:
        store, log = ResponseStore(Storage.open(self.store)), Storage.open(self.folder / "ledger")
        ray.get(self.ledger.restart.remote(log, store, self.caps, PRICES))
        return Teacher(self.pool, self.ledger, store, TransformersTeacher(model="one"), PROMPTS)

    def cascade(self) -> list[Teacher]:
        first = self.teacher()
        return [first, replace(first, config=TransformersTeacher(model="two"), tier=2)]

    def calls(self) -> list[str]:
        path = Path(self.pool.model.name)
        return path.read_text().split() if path.exists() else []

    def spent(self) -> dict[str, Any]:
        total = ray.get(self.teacher().ledger.summary.remote())["total"]
        assert isinstance(total, dict)
        return total


@pytest.fixture
def lab(tmp_path: Path, actors: tuple[Any, ...]) -> Lab:
    ledger, *engines = actors
    pool = Pool(tuple(engines), ModelRef(str(tmp_path / "calls")), batch_size=4)
    return Lab(tmp_path, pool, ledger, Caps(examples=200), tmp_path / "store")


def config(**values: Any) -> Config:
    return Config.model_validate(values)


def example(question: str) -> Example:
    return Example(digest({"question": question}), "sums", question, "forty two")


EXAMPLES = [example(f"{kind} {i}") for i in range(3) for kind in ("good", "late", "never", "mute")]
EXAMPLES += [example("bare 1"), example("good 99")]


def explained(
    lab: Lab, settings: Config, examples: Sequence[Example] = tuple(EXAMPLES)
) -> Explained:
    result = explain(examples, [lab.teacher()], settings, stage=1)
    AnnotatedExample.to_table(result.annotated)
    RejectedAnswer.to_table(result.rejected)
    return result


def outcome(result: Explained) -> Counter[tuple[str, str | None, bool | None, int]]:
    return Counter(
        (row.question.split()[0], row.rationale, row.verified, row.attempts)
        for row in result.annotated
    )


ACCEPTED = {("good", "Because.", True, 1): 4, ("late", "At last.", True, 2): 3}


def test_wrong_conclusions_are_asked_again_and_dropped(lab: Lab) -> None:
    result = explained(lab, config())
    assert outcome(result) == ACCEPTED
    dropped = [row for row in EXAMPLES if row.question.split()[0] in ("never", "mute", "bare")]
    assert result.dropped == {row.example_id: "sums" for row in dropped}
    assert Counter(row.reason for row in result.rejected) == {
        "wrong conclusion": 3 + 2 * 3,
        "no conclusion": 3,
        "no conclusion, cut at max_new_tokens": 3,
        "empty rationale": 2,
    }
    # every example that was taken or given up is told once, and every answer is accounted for
    assert len(result.annotated) + len(result.dropped) == len(EXAMPLES)
    assert len(result.annotated) + len(result.rejected) == len(lab.calls())
    spent = lab.spent()
    assert spent["units"] == len(result.annotated)
    assert spent["calls"] == len(lab.calls())


@pytest.mark.parametrize(
    ("on_mismatch", "kept"),
    [
        ("keep", {("never", "Wrong again.", False, 2): 3,
                  ("mute", "It is hard to say", False, 2): 3}),
        ("label_only", {("never", None, False, 2): 3, ("mute", None, False, 2): 3,
                        ("bare", None, False, 2): 1}),
    ],
)  # fmt: skip
def test_what_still_fails_is_kept_or_taught_without_rationale(
    lab: Lab, on_mismatch: str, kept: dict[Any, int]
) -> None:
    result = explained(lab, config(rationale={"on_mismatch": on_mismatch}))
    assert outcome(result) == ACCEPTED | kept
    assert len(result.annotated) + len(result.dropped) == len(EXAMPLES)
    assert lab.spent()["units"] == len(result.annotated)


@pytest.mark.parametrize("on_mismatch", ["drop", "keep", "label_only"])
def test_a_resumed_run_decides_as_the_first_one_did(lab: Lab, on_mismatch: str) -> None:
    settings = config(rationale={"on_mismatch": on_mismatch, "max_attempts": 3})
    first = explained(lab, settings)
    calls, spent = lab.calls(), lab.spent()
    second = explained(lab, settings)
    assert second == first
    assert lab.calls() == calls
    assert lab.spent() == spent


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 9, 15, 20])
def test_a_run_killed_anywhere_ends_as_if_it_had_not_been(lab: Lab, after: int) -> None:
    seen = 0

    def kill(number: int) -> None:
        nonlocal seen
        seen += number
        if seen >= after:
            raise Killed

    teacher = lab.teacher()
    with pytest.raises(Killed):
        explain(EXAMPLES, [teacher], config(), stage=1, on_answers=kill)
    result = explained(lab, config())
    assert outcome(result) == ACCEPTED
    assert lab.spent()["units"] == len(result.annotated)
    again = [name for name, times in Counter(lab.calls()).items() if times > 1]
    assert len(again) <= 2 * 2 * lab.pool.batch_size  # in flight: two batches on each of two


def test_a_second_run_reuses_the_answers_of_a_shared_store(lab: Lab, tmp_path: Path) -> None:
    first = explained(lab, config())
    calls = lab.calls()
    caps = Caps(examples=200, calls=0)
    other = Lab(tmp_path / "other", lab.pool, lab.ledger, caps, lab.store)
    assert explained(other, config()) == first
    assert lab.calls() == calls
    spent = other.spent()
    assert (spent["calls"], spent["reused"]) == (0, len(calls))
    assert spent["units"] == len(first.annotated)


@pytest.mark.parametrize("caps", [Caps(examples=5), Caps(calls=5)])
def test_a_cap_refuses_the_rest(lab: Lab, caps: Caps) -> None:
    lab.caps = caps
    examples = [example(f"good {i}") for i in range(12)]
    result = explained(lab, config(), examples)
    assert [row.question for row in result.annotated] == [f"good {i}" for i in range(5)]
    cap = "examples" if caps.examples else "calls"
    assert result.refused == {row.example_id: cap for row in examples[5:]}
    assert not result.dropped
    assert len(lab.calls()) == 5
    assert explained(lab, config(), examples) == result


def bounds(examples: Sequence[Example]) -> tuple[int, float]:
    """The most tokens and money that a first call for one of these examples can cost."""
    sampling = Sampling(TransformersTeacher().rationale.max_new_tokens)
    prompts = [PROMPTS.render("rationale", **asdict(example)) for example in examples]
    prompt = max(max_prompt_tokens(text, sampling) for text in prompts)
    return prompt + sampling.max_new_tokens, (prompt * 1e3 + sampling.max_new_tokens * 2e3) / 1e6


@pytest.mark.parametrize("cap", ["tokens", "cost"])
def test_a_cap_on_tokens_or_money_is_used_up_to_within_one_call(lab: Lab, cap: str) -> None:
    """A call holds far more than it costs; what the settled ones set free is asked for again."""
    examples = [example(f"good {i}") for i in range(70)]
    bound = dict(zip(("tokens", "cost"), bounds(examples), strict=True))[cap]
    limit: Any = {"tokens": 1_000, "cost": 1.2}[cap]
    lab.caps = Caps(**{cap: limit})
    result = explained(lab, config(), examples)
    spent = lab.spent()
    used = {"tokens": spent["prompt_tokens"] + spent["completion_tokens"], "cost": spent["cost"]}
    assert 3 * bound > limit, "or the first calls alone would use the cap up"
    assert limit - bound < used[cap] <= limit
    assert (spent["held_tokens"], spent["held_cost"]) == (0, 0)
    assert len(result.annotated) == spent["calls"] == len(lab.calls()) > 20
    assert set(result.refused.values()) == {cap}
    assert len(result.refused) + len(result.annotated) == len(examples)
    assert explained(lab, config(), examples) == result
    assert lab.spent() == spent


def test_the_second_teacher_is_asked_only_for_what_the_first_could_not(lab: Lab) -> None:
    result = explain(EXAMPLES, lab.cascade(), config(rationale={"max_attempts": 1}), stage=1)
    # `late` answers are right at the second attempt of one teacher; here each has one
    assert outcome(result) == {("good", "Because.", True, 1): 4}
    summary = ray.get(lab.teacher().ledger.summary.remote())
    assert summary["by_tier"]["1"]["calls"] == len(EXAMPLES)
    assert summary["by_tier"]["2"]["calls"] == len(EXAMPLES) - 4
    for tier, prices in zip("12", PRICES, strict=True):
        spent = summary["by_tier"][tier]
        tokens = spent["prompt_tokens"], spent["completion_tokens"]
        per_token = prices.prompt_per_million, prices.completion_per_million
        cost = sum(t * p for t, p in zip(tokens, per_token, strict=True)) / 1e6
        assert spent["cost"] == pytest.approx(cost)
    settings = config(rationale={"max_attempts": 1})
    calls = lab.calls()
    assert explain(EXAMPLES, lab.cascade(), settings, stage=1) == result
    assert lab.calls() == calls


def test_a_cap_that_only_the_dear_teacher_meets_ends_the_work(lab: Lab) -> None:
    _, cheap = bounds(EXAMPLES)
    lab.caps = Caps(cost=2 * cheap)  # a call of the dear one holds ten times as much
    settings = config(rationale={"max_attempts": 1})
    result = explain(EXAMPLES[:4], lab.cascade(), settings, stage=1)
    assert [row.question for row in result.annotated] == ["good 0"]
    assert result.refused == {row.example_id: "cost" for row in EXAMPLES[1:4]}
    assert len(lab.calls()) == 4


@pytest.mark.parametrize("on_mismatch", ["drop", "label_only"])
def test_a_call_that_failed_is_no_answer(lab: Lab, on_mismatch: str) -> None:
    """It gives its unit back, is never stored, and is made again by a resumed run."""
    settings = config(rationale={"on_mismatch": on_mismatch, "max_attempts": 1})
    examples = [example("broken 1"), example("good 1")]
    result = explained(lab, settings, examples)
    assert [row.question for row in result.annotated] == ["good 1"]
    assert [row.reason for row in result.rejected] == ["no answer"]
    spent = lab.spent()
    assert (spent["units"], spent["calls"]) == (1, 2)
    explained(lab, settings, examples)
    assert len(lab.calls()) == 3


def test_questions_asked_twice_at_once_are_one_call(lab: Lab) -> None:
    teacher = lab.teacher()
    prompt = PROMPTS.render("rationale", question="good 1", answer="x", domain="sums")
    questions = [Question(prompt, "rationale", "sums")] * 70  # more than one window
    told: list[int] = []
    answers = teacher.ask(questions, Sampling(8), stage=1, on_answers=told.append)
    assert len(answers) == 70
    assert {answer.text for answer in answers} == {"Because.\nAnswer: x"}
    assert len(lab.calls()) == 1
    assert sum(told) == 1


def test_two_attempts_at_a_greedy_teacher_differ(lab: Lab) -> None:
    explained(lab, config(rationale={"max_attempts": 3}), [example("never 1")])
    assert len(set(lab.calls())) == 3


def domains(*names: str) -> dict[str, TailDomain]:
    known = ["Known?", "Evaluated?", f"{LONG} now?"]
    shown = [Example(str(i), "sums", f"What is {i} plus {i}?", str(2 * i)) for i in range(5)]
    return {name: TailDomain(shown, ExistingQuestions(0.9, known)) for name in names}


def synthesized(lab: Lab, wanted: dict[str, int], settings: Config) -> Synthesized:
    result = synthesize(wanted, domains(*wanted), [lab.teacher()], settings, stage=2)
    AnnotatedExample.to_table(result.annotated)
    RejectedAnswer.to_table(result.rejected)
    return result


def test_new_examples_are_unlike_all_that_is_known(lab: Lab) -> None:
    result = synthesized(lab, {"sums": 30, "more": 5, "none": 0}, config())
    assert Counter(row.domain for row in result.annotated) == {"sums": 30, "more": 5}
    for name in ("sums", "more"):
        asked = [row.question for row in result.annotated if row.domain == name]
        assert len(set(asked)) == len(asked)
        assert not {"Known?", "Evaluated?", f"{LONG} today?"} & set(asked)
    assert len({row.example_id for row in result.annotated}) == 35
    assert {row.source for row in result.annotated} == {"synthetic"}
    assert {row.verified for row in result.annotated} == {None}
    assert {row.repaired for row in result.annotated} == {None}
    assert {row.reason for row in result.rejected} == {
        "malformed", "duplicate", "near-duplicate"
    }  # fmt: skip
    spent = lab.spent()
    assert spent["units"] == 35
    assert spent["calls"] == len(lab.calls()) == 35 + len(result.rejected)


def test_malformed_json_is_repaired_and_counted_and_what_was_cut_off_is_not(lab: Lab) -> None:
    result = synthesized(lab, {"slips": 12}, config())
    assert (len(result.annotated), result.repaired) == (12, 12)
    assert {row.repaired for row in result.annotated} == {True}
    assert all(re.fullmatch(r"Is \d+ big\?", row.question) for row in result.annotated)
    assert {row.rationale for row in result.annotated} == {"So."}
    assert {row.reason for row in result.rejected} == {"malformed, cut at max_new_tokens"}
    spent = lab.spent()
    assert (spent["units"], spent["calls"]) == (12, 12 + len(result.rejected))
    again = synthesized(lab, {"slips": 12}, config())  # a resume finds the same, for nothing
    assert (again.annotated, again.repaired) == (result.annotated, 12)
    assert lab.spent() == spent


def test_a_teacher_that_contradicts_itself_is_not_believed(lab: Lab) -> None:
    settings = config(tail={"votes": 1}, data={"task": "math"})
    result = synthesized(lab, {"sums": 20}, settings)
    assert len(result.annotated) == 20
    for row in result.annotated:
        numbers = [int(number) for number in re.findall(r"\d+", row.question)]
        assert sum(numbers) == int(row.answer)
        assert row.verified is True
    reasons = Counter(row.reason for row in result.rejected)
    assert reasons["not verified"] > 0
    # a call for each new example, and one for each that passed the cheaper checks
    calls = 20 + len(result.rejected) + 20 + reasons["not verified"]
    assert len(lab.calls()) == calls
    assert lab.spent()["units"] == 20


@pytest.mark.parametrize(("votes", "believed"), [(1, "lucky"), (2, None), (3, "rash")])
def test_more_than_half_of_the_votes_decide(lab: Lab, votes: int, believed: str | None) -> None:
    """Its first vote is right in one domain, all further ones are in the other."""
    tail = {"votes": votes, "max_attempts_per_example": 1, "near_duplicate": 1}
    result = synthesized(lab, {"lucky": 4, "rash": 4}, config(tail=tail))
    assert Counter(r.domain for r in result.annotated) == ({believed: 4} if believed else {})
    assert {row.reason for row in result.rejected} == {"not verified"}
    assert len(lab.calls()) == 8 + 8 * votes


def test_another_model_votes_under_the_same_caps_at_its_own_price(lab: Lab) -> None:
    """The writer is believed in one domain by itself; the verifier, which samples, in the other."""
    tail = {"votes": 1, "max_attempts_per_example": 1, "near_duplicate": 1}
    settings, wanted = config(tail=tail), {"lucky": 4, "rash": 4}

    def run() -> Synthesized:
        writer = lab.teacher()
        options = TransformersTeacher.model_validate(
            {"model": "checker", "rationale": {"temperature": 1.0}}
        )
        verifier = replace(writer, config=options, tier=2)
        return synthesize(wanted, domains(*wanted), [writer], settings, stage=2, verifier=verifier)

    result = run()
    assert Counter(row.domain for row in result.annotated) == {"rash": 4}
    assert {row.reason for row in result.rejected} == {"not verified"}
    assert len(lab.calls()) == len(set(lab.calls())) == 8 + 8
    summary = ray.get(lab.teacher().ledger.summary.remote())
    assert {tier: figures["calls"] for tier, figures in summary["by_tier"].items()} == {
        "1": 8, "2": 8
    }  # fmt: skip
    assert summary["by_purpose"]["verification"]["units"] == 0
    assert summary["total"]["units"] == 4
    voted, price = summary["by_tier"]["2"], PRICES[1]
    expected = voted["prompt_tokens"] * price.prompt_per_million
    expected += voted["completion_tokens"] * price.completion_per_million
    assert voted["cost"] == pytest.approx(expected / 1e6)
    assert run() == result
    assert len(lab.calls()) == 16

    lab.folder, lab.store = lab.folder / "2", lab.folder / "2" / "store"
    lab.caps = Caps(examples=200, calls=11)
    assert run().refused == "calls"
    assert len(lab.calls()) == 16 + 11

    lab.caps = Caps(examples=200)  # the stage goes on, and what no vote had judged is not lost
    assert run() == result
    assert len(lab.calls()) == 16 + 16


class EvenOnes:
    """A window that keeps examples whose answers are even numbers, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def outside(self, written: Mapping[str, tuple[str, NewExample]]) -> dict[str, str]:
        self.seen += written
        return {name: "odd" for name, (_, one) in written.items() if int(one.answer) % 2}


def test_what_is_outside_of_the_window_costs_its_call_alone(lab: Lab) -> None:
    tail = {"votes": 1, "max_attempts_per_example": 12}
    settings, wanted = config(tail=tail, data={"task": "math"}), {"sums": 20}

    def written(window: EvenOnes) -> Synthesized:
        teachers = [lab.teacher()]
        return synthesize(wanted, domains(*wanted), teachers, settings, stage=2, window=window)

    window = EvenOnes()
    result = written(window)
    assert len(result.annotated) == 20
    assert all(int(row.answer) % 2 == 0 for row in result.annotated)
    reasons = Counter(row.reason for row in result.rejected)
    assert reasons["odd"] >= 5
    assert (
        len(window.seen) == len(set(window.seen)) == 20 + reasons["odd"] + reasons["not verified"]
    )
    # a call for each new example, and a vote on each that is within the window
    calls = 20 + len(result.rejected) + 20 + reasons["not verified"]
    spent = lab.spent()
    assert (spent["units"], spent["calls"], len(lab.calls())) == (20, calls, calls)
    assert written(EvenOnes()) == result, "a resume finds the same, for nothing"
    assert lab.spent() == spent


def test_a_filter_reads_each_new_example_once_and_before_any_vote(lab: Lab) -> None:
    tail = {"votes": 1, "max_attempts_per_example": 12, "filter": "plugins:EvenAnswers"}
    settings = config(tail=tail, data={"task": "math"})
    EvenAnswers.seen.clear()
    result = synthesized(lab, {"sums": 20}, settings)
    assert len(result.annotated) == 20
    assert all(int(row.answer) % 2 == 0 for row in result.annotated)
    reasons = Counter(row.reason for row in result.rejected)
    odd, unverified = reasons["filtered: odd"], reasons["not verified"]
    assert odd >= 5
    assert len(EvenAnswers.seen) == len(set(EvenAnswers.seen)) == 20 + odd + unverified
    # a call for each new example, and a vote on each that the filter let pass
    calls = 20 + len(result.rejected) + 20 + unverified
    assert lab.spent()["calls"] == calls
    assert synthesized(lab, {"sums": 20}, settings) == result, (
        "a resume finds the same, for nothing"
    )
    assert lab.spent()["calls"] == calls


def test_a_domain_that_is_a_label_takes_no_other(lab: Lab) -> None:
    prompts = PROMPTS.with_labels(Labels({"dry": ("2", "3")}, {"dry": "3"}))
    teacher = replace(lab.teacher(), prompts=prompts)
    settings = config(data={"task": "classification"}, tail={"max_attempts_per_example": 1})
    result = synthesize({"dry": 2}, domains("dry"), [teacher], settings, stage=2)
    assert [row.reason for row in result.rejected] == ["another label"] * 2
    assert not result.annotated


def test_a_domain_that_runs_dry_ends(lab: Lab) -> None:
    settings = config(tail={"max_attempts_per_example": 2.5})
    result = synthesized(lab, {"dry": 5, "sums": 5}, settings)
    assert Counter(row.domain for row in result.annotated) == {"dry": 1, "sums": 5}
    tried = [row for row in result.rejected if row.domain == "dry"]
    assert len(tried) + 1 == 13  # ceil(5 * 2.5)
    assert not result.refused


def test_over_long_examples_are_rejected(lab: Lab) -> None:
    settings = config(data={"max_question_chars": 10}, tail={"max_attempts_per_example": 1})
    reasons = Counter(row.reason for row in synthesized(lab, {"dry": 3}, settings).rejected)
    assert reasons == {"over-long": 3}


@pytest.mark.parametrize("votes", [0, 1, 3])
def test_synthesis_resumes_without_a_call(lab: Lab, votes: int) -> None:
    settings = config(tail={"votes": votes}, data={"task": "math"})
    first = synthesized(lab, {"sums": 20, "dry": 3}, settings)
    calls, spent = lab.calls(), lab.spent()
    second = synthesized(lab, {"sums": 20, "dry": 3}, settings)
    assert second == first
    assert lab.calls() == calls
    assert lab.spent() == spent


@pytest.mark.parametrize("after", [1, 10, 25, 40])
def test_synthesis_killed_anywhere_ends_as_if_it_had_not_been(lab: Lab, after: int) -> None:
    settings = config(tail={"votes": 1}, data={"task": "math"})
    seen = 0

    def kill(number: int) -> None:
        nonlocal seen
        seen += number
        if seen >= after:
            raise Killed

    teacher = lab.teacher()
    with pytest.raises(Killed):
        synthesize({"sums": 30}, domains("sums"), [teacher], settings, stage=2, on_answers=kill)
    result = synthesized(lab, {"sums": 30}, settings)
    through = Lab(lab.folder / "2", lab.pool, lab.ledger, lab.caps, lab.folder / "2" / "store")
    assert result == synthesized(through, {"sums": 30}, settings)
    assert lab.spent()["units"] == 30


def test_a_cap_ends_synthesis(lab: Lab) -> None:
    lab.caps = Caps(examples=10)
    result = synthesized(lab, {"sums": 30}, config())
    assert result.refused
    assert len(result.annotated) + len(result.rejected) == 10


def test_the_ledgers_actor_comes_back_with_what_it_knew(lab: Lab) -> None:
    teacher = lab.teacher()
    ledger = start_ledger(Storage.open(lab.folder / "ledger"), teacher.store, lab.caps)
    teacher = replace(teacher, ledger=ledger)
    first = explain(EXAMPLES, [teacher], config(), stage=1)
    before = ray.get(teacher.ledger.summary.remote())
    pid = ray.get(teacher.ledger.__ray_call__.remote(lambda _: os.getpid()))
    os.kill(pid, 9)
    assert explain(EXAMPLES, [teacher], config(), stage=1) == first
    assert ray.get(teacher.ledger.summary.remote()) == before
    ray.kill(teacher.ledger)
