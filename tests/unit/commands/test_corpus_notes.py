"""`data describe` and `plan` say how a corpus is read, where columns do not hold it plainly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from baldistill.commands.inspect_corpus import Inspection, describe
from baldistill.commands.plan import plan_run, show
from baldistill.config import Config
from baldistill.config.loading import load_config
from baldistill.data.summary import CorpusSummary
from baldistill.placement.resources import Cluster, place
from baldistill.progress.display import Display
from baldistill.records import QUARANTINE

COUNTS = {"a": 40, "b": 10}
UNLABELLED = ["data.columns.answer=null", "rationale.sees=question", "rationale.accept=any"]
AGAINST_TEACHER = [*UNLABELLED, "evaluation.gold=teacher"]
NO_DOMAIN = "data.columns.domain=null"
OPENAI = "teacher={kind: openai, model: m}"

Said = Callable[..., tuple[str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that gives what `data describe` and `plan` say of a config's corpus."""

    def run(*options: str, several_answers: bool = False) -> tuple[str, str]:
        config = load_config(None, ["budget.total=20", *options])
        return described(config, several_answers), planned(config, several_answers)

    def described(config: Config, several_answers: bool) -> str:
        summary = CorpusSummary(54, COUNTS, {"a": 4}, {}, 0, several_answers=several_answers)
        describe(Inspection(summary, QUARANTINE.empty_table()), config, Display())
        return " ".join(capsys.readouterr().err.split())

    def planned(config: Config, several_answers: bool) -> str:
        result = plan_run(config, COUNTS, place(config, Cluster.single(2)))
        show(config, result, Display(), several_answers=several_answers)
        return " ".join(capsys.readouterr().err.split())

    return run


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (
            ["data.columns.messages=talks"],
            "questions are the last turn of the user in each chat of `talks`, and the gold answer "
            "is what the assistant says to it; earlier turns are their context "
            "(data.columns.messages)",
        ),
        (
            ["data.columns={messages: talks, answer: gold}"],
            "each chat of `talks`; earlier turns are their context (data.columns.messages)",
        ),
        (
            ["data.columns={messages: talks, each_turn: true}"],
            "all turns of the user that the assistant answers in the chats of `talks`, and its "
            "answers are the gold ones; all turns before are their context "
            "(data.columns.each_turn)",
        ),
        (
            [NO_DOMAIN, "data.domains={clusters: auto}"],
            "domains are clusters of the questions by their words (data.domains.clusters)",
        ),
        (
            [NO_DOMAIN, "data.domains={names: [a, b]}", OPENAI],
            "domains are named by the user, and a classifier sorted questions as the teacher did a "
            "sample (data.domains.names)",
        ),
        (
            [NO_DOMAIN, "data.domains={by: likelihood, bins: 3, model: bundled}"],
            "domains are bins of questions, by how likely a small model finds them "
            "(data.domains.by=likelihood)",
        ),
        (
            [NO_DOMAIN, "data.domains={by: id, pattern: '^[a-z]+'}"],
            "domains are found in `id` by data.domains.pattern (data.domains.by)",
        ),
        (
            [NO_DOMAIN, "data.domains={by: topic}"],
            "domains are the values of `topic` (data.domains.by)",
        ),
    ],
)
def test_describe_and_plan_say_how_a_corpus_is_read(
    said: Said, options: list[str], note: str
) -> None:
    assert [note in text for text in said(*options)] == [True, True]


def test_describe_and_plan_say_which_of_several_answers_counts(said: Said) -> None:
    counts = "any of them counts, and the first is the one that is shown or learnt"
    for text in said(several_answers=True):
        assert f"some rows have several acceptable answers: {counts} (data.columns.answer)" in text
    options = [*UNLABELLED, "data.columns.evaluation_answer=gold", "data.evaluation=test.jsonl"]
    for text in said(*options, several_answers=True):
        assert f"{counts} (data.columns.evaluation_answer)" in text


def test_nothing_is_said_of_plain_columns(said: Said) -> None:
    for text in said():
        assert "questions are" not in text
        assert "domains are" not in text
        assert "acceptable" not in text


def test_describe_says_who_answers_where_nobody_has(said: Said) -> None:
    text, _ = said(*AGAINST_TEACHER)
    assert (
        "no training row has a gold answer (data.columns.answer=null): the teacher's are taken "
        "(rationale.accept=any)" in text
    )
    assert (
        "the evaluation set has no gold answers (evaluation.gold=teacher): the student is marked "
        "against the teacher's, by how often the two agree" in text
    )
    labelled, _ = said()
    assert "gold answer" not in labelled


def test_plan_says_which_answers_are_accepted_and_taught(said: Said) -> None:
    _, text = said(*AGAINST_TEACHER)
    assert "answers are accepted unchecked (rationale.accept=any)" in text
    _, text = said(*AGAINST_TEACHER, "rationale.accept=majority", "rationale.votes=5")
    assert (
        "answers are accepted by majority: 3 of 5 votes, and each vote is a call (3 for an example "
        "if they agree)" in text
    )
    assert "accepted unchecked" not in text
    _, plain = said()
    assert "answers are accepted" not in plain
    assert "thoughts" not in plain
    _, text = said("rationale.keep=thoughts", "rationale.sees=question", OPENAI)
    assert (
        "the teacher's thoughts are taught (rationale.keep=thoughts): thoughts and answer together "
        "have at most 96 tokens (teacher.rationale.max_new_tokens), or are rejected" in text
    )
