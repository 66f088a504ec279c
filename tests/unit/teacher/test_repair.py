"""A malformed JSON answer is repaired if all its letters stay, and left alone otherwise."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baldistill.teacher.parsing import NewExample, parse_new_example
from baldistill.teacher.repair import NAMES, repaired_object

EXAMPLE = NewExample("Why, a?", "b: c", "4", repaired=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"question": "Why, a?", "rationale": "b: c", "answer": "4",}',
        '{"question": "Why, a?", "rationale": "b: c" "answer": "4"}',
        '{"question": "Why, a?", "rationale": "b: c", "answer": "4"',
        "{'question': 'Why, a?', 'rationale': 'b: c', 'answer': '4'}",
        '{"question": "Why, a?", "rationale": "b: c", "answer": "4"} Hope this helps!',
        'Here is {one}: {"question": "Why, a?", "rationale": "b: c", "answer": "4",}',
        'Sure:\n```json\n{"question": "Why, a?", "rationale": "b: c", "answer": "4",}\n```',
        '```json\n{question: "Why, a?", rationale: "b: c", answer: "4"}\n```',
    ],
)
def test_a_slip_of_the_pen_is_repaired_and_marked(text: str) -> None:
    assert parse_new_example(text) == EXAMPLE
    assert parse_new_example(text, cut=True) is None  # whatever it seems to say


@pytest.mark.parametrize(
    ("text", "question"),
    [
        (r'{"question": "Is \alpha + 1?", "rationale": "r", "answer": "2"}', r"Is \alpha + 1?"),
        ('{"question": "A "yes", too?", "rationale": "r", "answer": "2"}', 'A "yes", too?'),
        ('{"question": "a\nb - {c}", "rationale": "r", "answer": "2"}', "a\nb - {c}"),
        ('{"question": "caf\\u00e9 \\"x\\"", "rationale": "r", "answer": "2",}', 'caf\u00e9 "x"'),
    ],
)  # fmt: skip
def test_what_is_within_a_text_stays(text: str, question: str) -> None:
    assert parse_new_example(text) == NewExample(question, "r", "2", repaired=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"question": "q", "rationale": "r", "answer": "4',  # 42?
        '{"question": "q", "rationale": "r", "answer": "\\frac{1}{2}',
        '{"question": "q", "rationale": "r", "answer": 4.50,}',
        '{"question": "q", "rationale": "r", "answer": "4", "hint": "h",}',
        '{"question": "q", "rationale": "r",}',
        '{"question": "q", "rationale": "r", "answer": "",}',
        '{"question": "q", "rationale": "r", "answer": "4"}'
        '{"question": "q2", "rationale": "r", "answer": "5"}',
        '{"question": "q" // said he\n, "rationale": "r", "answer": "4"}',
        '{"answer": "4", "rationale": "r", "question": "q",}',
        '{"question": "q\\ud800", "rationale": "r", "answer": "3",}',
        r'{"question": "\alpha + \nu", "rationale": "r", "answer": "3"}',  # a line end, or a letter
        '{"question": "q", "rationale": "r", "answer": -4}',
    ],
)  # fmt: skip
def test_what_would_be_other_content_is_not_repaired(text: str) -> None:
    assert parse_new_example(text) is None


PIECES = ['"', "'", "{", "}", "[", ":", ",", "\\", "\n", "//", "/*", "```", "\\u00", "\ud800", "4"]
NOISE = st.lists(st.one_of(st.sampled_from([*PIECES, *NAMES]), st.text(max_size=3))).map("".join)


def letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text)


@given(NOISE)
@settings(max_examples=150)
def test_noise_is_no_example_or_holds_its_texts(noise: str) -> None:
    for text in (noise, "{" + noise, f'{{"question": "q", "rationale": "{noise}", "answer": "a"'):
        found = repaired_object(text)
        if found is not None:
            assert list(found) == list(NAMES)
            for part in found.values():
                assert re.sub(r"[\s\\]", "", part) in re.sub(r"[\s\\]", "", json_texts(text))


def json_texts(text: str) -> str:
    return (
        re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        .replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\t", "\t")
    )


TEXT = st.text(st.sampled_from("ab \"'{}[],:\\-+12?\n"), min_size=1, max_size=12)


@given(TEXT, TEXT, TEXT, st.data())
@settings(max_examples=150)
def test_a_damaged_mark_never_changes_a_letter(
    question: str, rationale: str, answer: str, data: st.DataObject
) -> None:
    texts = [question, rationale, answer]
    text = json.dumps(dict(zip(NAMES, texts, strict=True)))
    marks = [index for index, mark in enumerate(text) if mark in '{}",:\\']
    place = data.draw(st.sampled_from(marks))
    with_it = data.draw(st.sampled_from(["", '"', ",", "}", "\\"]))
    found = repaired_object(text[:place] + with_it + text[place + 1 :])
    if found is not None:
        # a backslash less may spell a line end as n, or the reverse, but nothing is lost
        assert [letters(part).replace("n", "") for part in found.values()] == [
            letters(part) for part in texts
        ]


NAMED = '{"question": "q", "rationale": "r", "answer": "'


@pytest.mark.parametrize("mark", ["{", "[{", '{"a":', '"', "\\", "/*", '"x ', " ", "'q' "])
def test_long_noise_is_left_alone(mark: str) -> None:
    for start in ("{", NAMED):
        assert repaired_object(start + mark * 30_000) is None
        assert repaired_object(start + mark * (15_000 // len(mark))) is None
    assert repaired_object("{" + mark * (480 // len(mark)) + NAMED[1:]) is None


def test_a_failure_of_the_library_is_no_answer() -> None:
    noise = '{\'```json:{\\"*/true1.5e:\'"\\"{]```"4"<x>", "rationale": "*/answer'
    for text in (noise, NAMED + noise, NAMED + noise + '"}', f'{{"question": {noise} {NAMED[1:]}'):
        assert repaired_object(text) is None
