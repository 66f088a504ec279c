"""Each source's rows become question, answer, domain and choices."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from baldistill.core.answers import equal
from baldistill.data.choices import check_choices
from baldistill.data.recipes import abstractive, competition_math, multiple_choice, news
from baldistill.data.recipes.row import Row


def only(rows: Any) -> Row:
    (row,) = rows
    assert isinstance(row, Row)
    return row


def test_r52_says_by_its_file_where_it_belongs(samples: ModuleType) -> None:
    rows = [only(news.r52(row)) for row in samples.R52]
    assert [(row.domain, row.split) for row in rows] == [
        ("earn", "train"),
        ("acq", "train"),
        ("wpi", "train"),
        ("earn", "evaluation"),
        ("acq", "evaluation"),
    ]
    assert all(row.answer == row.domain for row in rows)


def test_reuters_has_a_row_for_each_topic(samples: ModuleType) -> None:
    both, wheat, unused, none = ([*news.reuters(row)] for row in samples.REUTERS)
    assert [row.answer for row in both] == ["interest", "money-fx"]
    assert both[0].question == "BANK TO BUY BILLS\n\nThe bank said it would\nbuy <XYZ> bills."
    assert {row.split for row in both} == {"train"}
    assert only(wheat) == Row("grain", "Wheat rose.", "grain", split="evaluation")
    assert unused == none == []


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("race", "an apple"),
        ("openbookqa", "plants"),
        ("mctest", "grey"),
        ("arc_easy", "plants"),
        ("arc_challenge", "seeds"),
        ("commonsenseqa", "plants"),
        ("qasc", "f"),
        ("piqa", "use a knife"),
        ("siqa", "rest"),
        ("winogrande", "the cup"),
    ],
)
def test_multiple_choice(name: str, answer: str, samples: ModuleType) -> None:
    row = only(getattr(multiple_choice, name)(samples.MULTIPLE_CHOICE[name]))
    assert row.domain == name
    assert row.choices is not None
    assert row.choices["ABCDEFGH".index(row.answer)] == answer
    assert check_choices(row.answer, row.choices) is None
    assert equal("multiple_choice", row.answer, answer, row.choices)


def test_passages_come_before_their_question(samples: ModuleType) -> None:
    race = only(multiple_choice.race(samples.MULTIPLE_CHOICE["race"]))
    assert race.question.endswith("bought an apple.\n\nWhat did Ann buy _ ?")
    mctest = only(multiple_choice.mctest(samples.MULTIPLE_CHOICE["mctest"]))
    assert mctest.question == "Once there was a cat.\nIt was grey.\n\nWhat colour was the cat?"


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("commonsenseqa", {"answerKey": ""}),
        ("qasc", {"answerKey": ""}),
        ("piqa", {"label": -1}),
        ("siqa", {"label": ""}),
        ("winogrande", {"answer": ""}),
    ],
)
def test_a_secret_answer_gives_no_row(
    name: str, hidden: Mapping[str, Any], samples: ModuleType
) -> None:
    row = {**samples.MULTIPLE_CHOICE[name], **hidden}
    assert [*getattr(multiple_choice, name)(row)] == []


@pytest.mark.parametrize(
    ("name", "question", "answer"),
    [
        ("narrativeqa", "A man sails away.\n\nWho sails away?", "A man"),
        (
            "natural_questions",
            "where did they film hot tub time machine",
            "Fernie Alpine Resort",
        ),
        ("drop", "The Raiders scored first.\n\nHow many points did they score first?", "7"),
        ("qaconv", 'ann: i am here \n bob: tap in\n\nwho said "tap in"?', "bob"),
        ("tweetqa", "Look at this dog! - Ann (@ann) May 1, 2015\n\nwhat is shown?", "a dog"),
    ],
)
def test_abstractive(name: str, question: str, answer: str, samples: ModuleType) -> None:
    row = only(getattr(abstractive, name)(samples.ABSTRACTIVE[name]))
    assert row == Row(name, question, answer)
    assert [*abstractive.tweetqa({**samples.ABSTRACTIVE["tweetqa"], "Answer": []})] == []


def test_a_question_without_its_conversation_is_of_another_form(samples: ModuleType) -> None:
    with pytest.raises(ValueError, match="no conversation"):
        [*abstractive.qaconv({"input": "who said it?", "answer": "bob"})]


def test_math_takes_the_last_box(samples: ModuleType) -> None:
    row = only(competition_math.problem(samples.MATH))
    assert (row.domain, row.answer) == ("Counting & Probability", "\\frac{3}{2}")
    assert equal("math", "1.5", row.answer)
    assert [*competition_math.problem({**samples.MATH, "solution": "No box."})] == []
