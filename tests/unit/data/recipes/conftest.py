"""Rows in the form that each source has on the hub, a few of each."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

R52 = [
    {"file": "training/9865", "label_id": 11, "label": "earn", "text": '"CHAMPION <CH> SPLITS\n"'},
    {"file": "training/10", "label_id": 0, "label": "acq", "text": "BIDDER GETS 51 PCT"},
    {"file": "training/11", "label_id": 49, "label": "wpi", "text": "PRICES ROSE 0.4 PCT"},
    {"file": "test/14826", "label_id": 11, "label": "earn", "text": "NET 12 CTS VS 8 CTS"},
    {"file": "test/14828", "label_id": 0, "label": "acq", "text": "MERGER AGREED"},
]

REUTERS = [
    {
        "text": '"The bank said it would\\nbuy &lt;XYZ> bills."',
        "topics": ["interest", "money-fx"],
        "lewis_split": '"TRAIN"',
        "title": "BANK TO BUY BILLS",
    },
    {"text": "Wheat rose.", "topics": ["grain"], "lewis_split": "TEST", "title": None},
    {"text": "Unused.", "topics": ["earn"], "lewis_split": "NOT-USED", "title": "X"},
    {"text": "No topic.", "topics": [], "lewis_split": "TRAIN", "title": "X"},
]

KEYED = {
    "id": "7-980",
    "choices": {"text": ["puppies", "sleep", "plants", "sand"], "label": ["A", "B", "C", "D"]},
    "answerKey": "C",
}

MULTIPLE_CHOICE: dict[str, dict[str, Any]] = {
    "race": {
        "example_id": "high132.txt",
        "article": "Ann went to the shop. She bought an apple. ",
        "answer": "B",
        "question": "What did Ann buy _ ?",
        "options": ["a pear", "an apple", "a plum", "a fig"],
    },
    "openbookqa": {**KEYED, "question_stem": "The sun is responsible for growing"},
    "mctest": {
        "idx": {"story": "mc500.train.0", "question": 1},
        "question": "What colour was the cat?",
        "story": "Once there was a cat.\\newlineIt was grey.",
        "properties": {"author": "7E", "work_time(s)": 100, "quality_score": 0, "creativity": ""},
        "answer_options": {"A": "red", "B": "grey", "C": "blue", "D": "green"},
        "answer": "B",
        "question_is_multiple": False,
    },
    "arc_easy": {**KEYED, "question": "Which of these grow?"},
    "arc_challenge": {
        "id": "NYSEDREGENTS_2013_4_4",
        "question": "Which of these grow?",
        "choices": {"text": ["stones", "rain", "seeds", "wind"], "label": ["1", "2", "3", "4"]},
        "answerKey": "3",
    },
    "commonsenseqa": {**KEYED, "question": "What grows?", "question_concept": "grow"},
    "qasc": {
        "id": "3E7TUJ",
        "question": "What forms clouds?",
        "choices": {"text": list("abcdefgh"), "label": list("ABCDEFGH")},
        "answerKey": "F",
        "fact1": "x",
        "fact2": "y",
        "combinedfact": "z",
        "formatted_question": "What forms clouds? (A) a (B) b",
    },
    "piqa": {"goal": "To cut bread", "sol1": "use a spoon", "sol2": "use a knife", "label": 1},
    "siqa": {
        "context": "Tracy helped Ann.",
        "question": "What will Tracy want next?",
        "answerA": "rest",
        "answerB": "cry",
        "answerC": "shout",
        "label": "1",
    },
    "winogrande": {
        "sentence": "The cup did not fit the box because _ was too big.",
        "option1": "the cup",
        "option2": "the box",
        "answer": "1",
    },
}

ABSTRACTIVE: dict[str, dict[str, Any]] = {
    "narrativeqa": {
        "document": {
            "id": "23",
            "kind": "gutenberg",
            "summary": {"text": " A man sails away. ", "tokens": ["A"], "url": "u", "title": "T"},
            "text": "the whole book",
        },
        "question": {"text": "Who sails away?", "tokens": ["Who"]},
        "answers": [{"text": "A man", "tokens": ["A"]}, {"text": "the man", "tokens": ["the"]}],
    },
    "natural_questions": {
        "question": "where did they film hot tub time machine",
        "answer": ["Fernie Alpine Resort"],
    },
    "drop": {
        "section_id": "nfl_2201",
        "query_id": "f16c",
        "passage": "The Raiders scored first.",
        "question": "How many points did they score first?",
        "answers_spans": {"spans": ["7", "seven"], "types": ["number", "span"]},
    },
    "qaconv": {
        "input": 'who said "tap in"? \\n ann: i am here \\n bob: tap in',
        "answer": "bob",
    },
    "tweetqa": {
        "Question": "what is shown?",
        "Answer": ["a dog", "dog"],
        "Tweet": "Look at this dog! - Ann (@ann) May 1, 2015",
        "qid": "2e6f",
    },
}

MATH = {
    "problem": "What is $1+\\frac{1}{2}$?",
    "level": "Level 1",
    "type": "Counting & Probability",
    "solution": "First, $\\boxed{0}$ is wrong. The sum is $\\boxed{\\frac{3}{2}}$.",
}


@pytest.fixture
def samples() -> ModuleType:
    """This module's rows."""
    return sys.modules[__name__]
