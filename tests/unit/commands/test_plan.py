"""What a run would spend: examples, calls, tokens and money."""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from baldistill.commands.inputs import scratch_folder
from baldistill.commands.plan import RunPlan, plan, plan_run, show
from baldistill.commands.plan_notes import benchmarks_are_asked, teacher_was_shown_answers
from baldistill.config import Config
from baldistill.config.loading import dump_config, load_config
from baldistill.core.own_policy import StageFacts
from baldistill.errors import ConfigError, DataError, FolderInUseError, ResourceError
from baldistill.method.plan import teacher_warnings
from baldistill.method.select import candidate_counts
from baldistill.placement.resources import Cluster, place
from baldistill.progress.display import Display
from baldistill.run_folder.lock import only_run_in
from baldistill.storage import Storage

COUNTS = {"a": 700, "b": 200, "c": 60, "d": 30, "e": 10}


def test_a_plan_counts_the_calls() -> None:
    cluster = Cluster.single(2)

    def of(*overrides: str, method: str | None = None) -> tuple[int, int, int, int]:
        config = load_config(None, ["budget.total=400", *overrides], method)
        result = plan_run(config, COUNTS, place(config, cluster))
        assert result.to_dict()["examples"] == config.budget.total
        return result.real, result.new, result.calls, result.calls_at_most

    real, new, calls, most = of(method="balance-ft-cot")
    assert (real, new) == (80 + 80 + 60 + 30 + 10, 20 + 50 + 70)
    assert calls == 400
    # each dropped example is replaced by the next candidate, then by a new one in the tail
    assert most == (3 * 80 + 200 + 60 + 30 + 10) * 2 + 3 * 80 * 4
    kept = of("rationale.on_mismatch=label_only", method="balance-ft-cot")
    assert kept == (260, 140, 400, 260 * 2 + 140 * 4)
    few = of("rationale.on_mismatch=drop", "budget.calls=500", method="balance-ft-cot")
    assert few[3] == 500
    assert of("student.target=both", method="balance-ft-cot") == (real, new, calls, most)
    assert of(method="step-by-step") == of(method="random-ft-cot")
    assert of(method="random-ft") == (0, 0, 0, 0)
    too_many = f"budget.total={2 * sum(COUNTS.values())}"  # random sampling writes nothing new
    assert of(too_many, method="random-ft") == (0, 0, 0, 0)
    assert of(too_many, method="random-ft-cot")[:3] == (
        sum(COUNTS.values()),
        0,
        sum(COUNTS.values()),
    )
    assert of("budget.calls=300", method="balance-ft-cot")[2:] == (300, 300)
    assert of("tail.votes=1", method="balance-ft-cot")[2] == 400 + 140
    solved = ("rationale.sees=question", "rationale.accept=majority", "rationale.votes=5")
    _, _, calls, by_votes = of(*solved, method="balance-ft-cot")
    assert calls == 260 * 3 + 140, "if the first three of five votes agree"
    assert by_votes == (3 * 80 + 200 + 60 + 30 + 10) * 5 + 3 * 80 * 4
    answers = [*solved, "data.columns.answer=null", "evaluation.gold=teacher", "budget.total=0"]
    config = load_config(None, answers)
    evaluated = plan_run(config, COUNTS, place(config, cluster), evaluated={"a": 20, "b": 1})
    assert (evaluated.calls, evaluated.calls_at_most) == (21 * 3, 21 * 5)
    alone = load_config(None, ["budget.total=0", "evaluation.teacher=true"])
    beside = plan_run(alone, COUNTS, place(alone, cluster), evaluated={"a": 20, "b": 1})
    assert (beside.calls, beside.calls_at_most) == (21, 21)
    assert benchmarks_are_asked(alone) is None
    forgets = load_config(None, ["evaluation.benchmarks=hellaswag", "evaluation.lm_eval.limit=5"])
    assert "hellaswag (evaluation.benchmarks): 5 examples" in str(benchmarks_are_asked(forgets))
    unlabelled = of(*solved, method="random-ft")
    assert unlabelled == (400, 0, 400 * 3, 1000 * 5), "labels are the teacher's, too"


def test_a_plan_counts_further_rationales() -> None:
    def of(*overrides: str) -> RunPlan:
        config = load_config(None, ["budget.total=400", *overrides], "balance-ft-cot")
        return plan_run(config, COUNTS, place(config, Cluster.single(2)))

    one = of("tail.fill=rationales")
    assert (one.real, one.new, one.further, one.calls) == (260, 0, 140, 400)
    tried, units = 3 * 80 + 200 + 60 + 30 + 10, 3 * 80
    assert one.calls_at_most == tried * 2 + units * 4
    both = of("tail.fill=[rationales, synthesize]")
    assert (both.new, both.further, both.calls) == (0, 140, 400)
    assert both.calls_at_most == tried * 2 + 2 * units * 4
    turned = of("tail.fill=[synthesize, rationales]", "tail.votes=1")
    assert (turned.new, turned.further, turned.calls) == (140, 0, 400 + 140)
    assert of("tail.fill=[repeat, synthesize]").calls == 260
    several = of("rationale.per_example=3")
    # 80 units of each domain: the smallest two have 30 and 10 rows
    assert (several.real, several.new, several.calls) == (4 * 80 + 30, 50, 400)
    assert several.calls_at_most == (3 * 80 + 200 + 60 + 30 + 10) * 2 + 400 * 2 + units * 4
    (stage,) = several.stages
    assert stage.tail.keys() == {"e"}
    assert candidate_counts(stage, 3.0) == {"a": 240, "b": 200, "c": 60, "d": 30, "e": 10}


def test_a_plan_counts_the_votes_of_another_model_at_its_own_price() -> None:
    prices = {"prompt_per_million": 1e6, "completion_per_million": 0.0}
    verifier = {"prices": prices, "rationale": {"max_new_tokens": 7}}
    tail = {"votes": 3, "verifier": verifier}

    def of(**values: Any) -> RunPlan:
        config = Config.model_validate({"budget": {"total": 400}, **values})
        return plan_run(config, COUNTS, place(config, Cluster.single(4)), ROWS)

    own, other = of(tail={"votes": 3}), of(tail=tail)
    assert (other.calls, other.calls_at_most) == (own.calls, own.calls_at_most)
    assert own.cost == 0.0
    assert other.cost > 3 * other.new * 4, "each prompt has some tokens, at a price of 1"
    assert other.tokens < own.tokens, "it answers shortly"
    recorded = {"kind": "replay", "path": "recorded.parquet", "synthetic": "new.jsonl"}
    alone = of(tail=tail, teacher=recorded)
    assert alone.calls == 3 * alone.new
    assert of(tail=tail | {"fill": "repeat"}).cost == 0.0


PRICED = {"prompt_per_million": 100.0, "completion_per_million": 300.0}
ROWS = {d: [{"question": f"What is {d}?", "answer": "It is."}] * 3 for d in COUNTS}


def planned(**teacher: Any) -> RunPlan:
    budget = {"total": 400, **teacher.pop("budget", {})}
    options = {"budget": budget, "teacher": teacher, "tail": {"votes": 1}}
    config = Config.model_validate(options)
    return plan_run(config, COUNTS, place(config, Cluster.single(4)), ROWS)


def test_no_real_example_is_tried_twice_however_many_are_dropped() -> None:
    config = load_config(None, ["budget.total=400", "stages=4", "tail.fill=none"])
    most = plan_run(config, COUNTS, place(config, Cluster.single(2))).calls_at_most
    assert most <= sum(COUNTS.values()) * config.rationale.max_attempts


def test_a_plan_leaves_the_corpus_of_another_run_alone(tmp_path: Path) -> None:
    config = load_config(None, ["seed=1"])
    storage = Storage.open(tmp_path)
    with (
        only_run_in(storage),
        pytest.raises(FolderInUseError, match="another run is at work"),
    ):
        plan(config, run_dir=tmp_path, quiet=True)
    storage.write_text("config.yaml", dump_config(load_config(None, ["seed=2"])))
    with pytest.raises(ConfigError, match="holds a run with another config, whose corpus must"):
        plan(config, run_dir=tmp_path, quiet=True)


def test_a_corpus_that_cannot_be_used_stays_where_the_message_says() -> None:
    folders = []
    for error in (DataError("bad rows"), None):
        with suppress(DataError), scratch_folder("plan") as storage:
            folders.append(Path(storage.path()))
            storage.write_text("quarantine/rows", "bad")
            if error is not None:
                raise error
    assert [folder.exists() for folder in folders] == [True, False]
    shutil.rmtree(folders[0])


def test_asking_for_json_makes_prompts_longer() -> None:
    assert planned(structured=True, prompts="instruct").tokens > planned(prompts="instruct").tokens


def test_a_plan_estimates_tokens_and_money() -> None:
    free, priced = planned(), planned(prices=PRICED)
    assert (free.tokens, free.cost) == (priced.tokens, 0.0)
    assert 0 < free.tokens < free.tokens_at_most
    # every response is between nothing and its cap; the compact prompts are some 30 tokens
    assert free.calls * 48 < free.tokens < free.calls * (80 + 60)
    assert free.tokens * 100 / 1e6 < priced.cost < free.tokens * 300 / 1e6
    assert priced.cost < priced.cost_at_most
    longer = planned(rationale={"max_new_tokens": 500})
    assert longer.tokens > free.tokens
    assert longer.calls == free.calls


class AllToTheLargest:
    """A policy of a user's, which may ask for the student's answers."""

    def __init__(self, questions: int) -> None:
        self.questions = questions

    def quotas(self, stage: StageFacts) -> dict[str, int]:
        return {max(stage.counts, key=lambda domain: stage.counts[domain]): stage.budget}


def test_a_plan_says_that_quotas_will_follow_the_students_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*overrides: str) -> str:
        config = load_config(None, ["budget.total=400", *overrides])
        show(config, plan_run(config, COUNTS, place(config, Cluster.single(2))), Display())
        return " ".join("".join(capsys.readouterr()).split())

    for kind in ("gain", "errors"):
        assert "errors" not in said("stages=1", f"budget.policy={kind}").replace("(errors)", "")
        told = said(f"budget.policy={kind}")
        assert f"follow the student's errors (budget.policy={kind})" in told
        assert "up to 40 real examples of each domain" in told
    own = f"{__name__}:AllToTheLargest"
    told = said(f"budget.policy={{kind: '{own}', options: {{questions: 7}}}}")
    assert f"from stage 2 on the quotas follow the student's errors (budget.policy={own})" in told
    assert "up to 7 real examples of each domain" in told
    assert "errors" not in said(f"budget.policy={{kind: '{own}', options: {{questions: 0}}}}")
    assert "errors" not in said("budget.policy=adaptive")


def test_a_plan_says_where_the_teachers_error_is_not_its_own() -> None:
    def said(*overrides: str, policy: str = "{kind: gain, beyond_teacher: true}") -> str | None:
        return teacher_was_shown_answers(load_config(None, [f"budget.policy={policy}", *overrides]))

    assert "is shown the gold answers (rationale.sees=answer)" in str(said())
    assert "set rationale.sees=question" in str(said())
    assert said("rationale.sees=question") is None
    assert said("student.target=label") is None, "no teacher explains"
    assert said("stages=1") is None
    assert said(policy="gain") is None
    assert said(policy="errors") is None


def test_the_note_on_the_teachers_error_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    config = load_config(None, ["budget.policy={kind: gain, beyond_teacher: true}"])
    show(config, plan_run(config, COUNTS, place(config, Cluster.single(2))), Display())
    assert "budget.policy.beyond_teacher subtracts" in " ".join(
        "".join(capsys.readouterr()).split()
    )


def test_a_plan_says_which_cap_would_end_the_run() -> None:
    whole = planned(prices=PRICED)
    assert whole.stopped_by is None
    caps = {"tokens": whole.tokens // 2, "cost": whole.cost / 3, "calls": whole.calls}
    held = planned(prices=PRICED, budget=caps)
    assert held.stopped_by == "cost"
    assert (held.calls, held.tokens) == (whole.calls, whole.tokens // 2)
    assert held.cost == held.cost_at_most == whole.cost / 3


def test_the_plan_of_a_cascade_counts_every_teacher_at_most() -> None:
    one = planned()
    two = planned(kind="cascade", tiers=[{}, {"prices": PRICED}])
    assert (two.calls, two.tokens, two.cost) == (one.calls, one.tokens, 0.0)
    assert two.calls_at_most == 2 * one.calls_at_most
    assert two.cost_at_most > 0


def test_a_recording_costs_nothing_and_writes_nothing_new() -> None:
    recorded = {"kind": "replay", "path": "recorded.parquet"}
    alone = planned(**recorded)
    assert (alone.calls_at_most, alone.tokens_at_most) == (0, 0)
    config = Config.model_validate({"budget": {"total": 400}, "teacher": recorded})
    (warning,) = teacher_warnings(config, alone.stages, {})
    assert "which a recording does not have" in warning
    new = Counter[str]()
    for stage in alone.stages:
        new.update({domain: tail.synthetic for domain, tail in stage.tail.items()})
    assert teacher_warnings(config, alone.stages, new) == []
    (warning,) = teacher_warnings(config, alone.stages, {**new, "e": new["e"] - 3})
    assert "1 domains (e) are to get 3 more new examples than the recording has" in warning
    both = Config.model_validate(
        {"budget": {"total": 400}, "teacher": {"kind": "cascade", "tiers": [recorded, {}]}}
    )
    placement = place(both, Cluster.single(4))
    partly = plan_run(both, COUNTS, placement, recorded={"e": new["e"] - 3, "d": 10_000})
    assert partly.calls == partly.new - new["d"] - (new["e"] - 3), "the rest is written"
    behind = planned(kind="cascade", tiers=[recorded, {}])
    config = Config.model_validate(
        {"budget": {"total": 400}, "teacher": {"kind": "cascade", "tiers": [recorded, {}]}}
    )
    assert teacher_warnings(config, behind.stages, {}) == []
    assert behind.calls == 2 * behind.new  # written, and verified
    assert behind.calls_at_most == planned().calls_at_most


def test_a_plan_counts_what_the_student_reads_for_diversity(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = Cluster.single(2)

    def of(*overrides: str) -> RunPlan:
        policy = ("budget.policy=naive", "budget.total=100", "stages=2", "tail.fill=repeat")
        config = load_config(None, [*policy, *overrides])
        result = plan_run(config, COUNTS, place(config, cluster))
        show(config, result, Display())
        return result

    assert of().embedded == 0
    assert "diversity" not in capsys.readouterr().err
    # ten of each domain in each stage; e has ten rows, so it is a tail domain in stage 2
    assert of("selection.diversity=kmeans").embedded == 4 * 20
    assert "the student reads up to 80 prompts" in " ".join(capsys.readouterr().err.split())
    assert of("selection.diversity=cal").embedded == 4 * (20 + 10)
    both = of("selection.diversity=kmeans", "selection.first_stage=metric")
    assert both.embedded == 4 * 20 + 4 * 20
    assert of("selection.diversity=kmeans", "stages=1").embedded == 0
    assert "changes nothing here" in " ".join(capsys.readouterr().err.split())
    assert both.calls == of().calls, "no teacher is asked"


def test_a_plan_says_what_the_student_answers(capsys: pytest.CaptureFixture[str]) -> None:
    policy = ("budget.policy=naive", "budget.total=100", "stages=2")

    def said(*overrides: str) -> str:
        config = load_config(None, [*policy, *overrides])
        show(config, plan_run(config, COUNTS, place(config, Cluster.single(2))), Display())
        return " ".join(capsys.readouterr().err.split())

    # three candidates for each of ten units of four domains; d has 20 rows left; e is a tail domain
    assert "the student answers up to 110 candidates to select from them (selection" in said()
    assert "up to 110 candidates 5 times to select" in said("selection.metric=disagreement")
    small = said("selection.by=small", "selection.text=gold")
    assert "small (selection.by) reads the gold answers of up to 110 candidates" in small
    twice = said("selection.first_stage=metric")
    assert "up to 240 candidates" in twice, "and in the first stage 30 of four domains, 10 of e"
    for random in ("selection.metric=random", "stages=1"):
        assert "to select from them" not in said(random)
    assert "answers up to 10 real examples of domains that get new" in said("tail.seeds=wrong")
    assert "(tail.seeds=wrong)" not in said("tail.seeds=wrong", "tail.fill=repeat").split("warn")[0]
    assert "without effect here: tail.seeds (" in said("tail.seeds=wrong", "tail.fill=repeat")
    assert "With budget.policy=gain the same answers" in said("budget.policy=errors")


def test_a_plan_says_what_a_window_of_difficulty_costs(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["budget.policy=naive", "budget.total=100", "stages=2", "tail.window=true"]
    config = load_config(None, options)
    show(config, plan_run(config, COUNTS, place(config, Cluster.single(2))), Display())
    said = " ".join(capsys.readouterr().err.split())
    # e has ten rows, and gets ten units in each of two stages
    assert "answers each new example 8 times" in said
    assert "12% to 88% right answers are kept (tail.window): 10 are wanted there" in said
    never = load_config(None, [*options, "cluster.keep_warm=never"])
    with pytest.raises(ResourceError, match=r"tail.window lets the student answer while"):
        place(never, Cluster.single(2))


def test_a_plan_counts_the_verdicts_of_a_judge() -> None:
    judge = "judge={teacher: {kind: openai, model: m}, rubric: rubric.md}"
    cluster = Cluster.single(2)

    def of(*overrides: str) -> tuple[RunPlan, int, int]:
        config = load_config(None, ["budget.total=400", *overrides], "balance-ft-cot")
        evaluated = {"a": 20, "b": 1}
        result = plan_run(config, COUNTS, place(config, cluster), evaluated=evaluated)
        return result, result.calls, result.calls_at_most

    plain, calls, most = of()
    _, judged, judged_most = of("data.task=judged", judge, "tail.votes=0")
    config = load_config(None, ["data.task=judged", judge], "balance-ft-cot")
    evaluations = 21 * (config.stages * config.evaluation.every_stage or 1)
    evaluations += 21 * config.evaluation.base_student
    assert judged == calls + plain.real + plain.new + evaluations
    assert judged_most == most + 2 * (most + evaluations), "each is asked for twice at most"
    _, beside, _ = of("data.task=judged", judge, "tail.votes=0", "evaluation.teacher=true")
    assert beside == judged + 21 + 21, "the teacher's answers, and a verdict about each"
    _, voted, _ = of("data.task=judged", judge, "tail.votes=3")
    assert voted == judged, "the judge decides in place of votes"
    _, mixed, _ = of("data.domain_tasks={e: judged}", judge)
    assert mixed == calls + 80, "domain e alone, which has no evaluation question"


def test_a_judge_is_estimated_to_read_responses_as_long_as_they_are_written(
    tmp_path: Path,
) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text("Is it kind?")
    price = "{prompt_per_million: 1000000, completion_per_million: 0}"
    options = [
        *("budget.total=400", "data.task=judged", "data.columns.answer=null"),
        *("rationale.sees=question", "rationale.accept=judge"),
        f"judge={{teacher: {{kind: openai, model: m, prices: {price}}}, rubric: {rubric}}}",
    ]
    unlabelled = {domain: [row | {"answer": ""} for row in rows] for domain, rows in ROWS.items()}

    def of(*more: str) -> RunPlan:
        config = load_config(None, [*options, *more], "balance-ft-cot")
        placement = place(config, Cluster.single(2))
        return plan_run(config, COUNTS, placement, unlabelled, evaluated={"a": 20, "b": 1})

    def longer(key: str, *more: str) -> tuple[float, float]:
        """Return how many more tokens the judge reads, whose price is 1 a token."""
        short, long = (of(f"{key}.max_new_tokens={length}", *more) for length in (100, 300))
        assert (short.calls, short.calls_at_most) == (long.calls, long.calls_at_most)
        return long.cost - short.cost, long.cost_at_most - short.cost_at_most

    evaluations = 21 * 2  # of the base student, and after the one stage
    plain = of()
    assert longer("student.response") == pytest.approx((evaluations * 100, 2 * evaluations * 200))
    assert longer("teacher.synthesis")[0] == pytest.approx(plain.new * 100)
    real_only = "tail.fill=none"
    alone = of(real_only)
    rationales = (alone.calls_at_most - 2 * evaluations) // 3  # a call, and two verdicts, for each
    expected, most = longer("teacher.rationale", real_only)
    assert expected == pytest.approx(alone.real * 100)
    assert most == pytest.approx(2 * rationales * 200)
    beside, _ = longer("teacher.rationale", real_only, "evaluation.teacher=true")
    assert beside == pytest.approx((alone.real + 21) * 100), "the teacher's answers are read, too"


def test_a_judge_reads_the_turns_before_the_question(tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text("Is it kind?")
    price = "{prompt_per_million: 1000000, completion_per_million: 0}"
    config = load_config(
        None,
        [
            *("budget.total=0", "data.task=judged"),
            f"judge={{teacher: {{kind: openai, model: m, prices: {price}}}, rubric: {rubric}}}",
        ],
    )

    def cost(rows: Any) -> float:
        placement = place(config, Cluster.single(2))
        return plan_run(config, COUNTS, placement, rows, evaluated={"a": 10}).cost

    before = [{"role": "user", "content": "x" * 400}]
    chats = {domain: [row | {"context": before} for row in rows] for domain, rows in ROWS.items()}
    assert cost(chats) > cost(ROWS) + 10 * 100, "four letters are a token"
