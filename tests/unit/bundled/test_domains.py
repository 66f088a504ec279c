"""The questions of the embedded corpus and the program that checks them."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.bundled import arithmetic, ordering, symbols
from baldistill.bundled.domains import DOMAINS, check, make_example, solve

ALL_DOMAINS = (
    *(arithmetic.ADDITION, arithmetic.SUBTRACTION, arithmetic.PRODUCTS, arithmetic.AGES),
    *(ordering.WEEKDAYS, ordering.MONTHS_LATER, ordering.LARGEST, ordering.SORTING),
    *(symbols.FLIPS, symbols.REVERSAL, symbols.COUNTING, symbols.LAST_LETTERS),
)

# Worked by hand: the program that generates the questions has no part in these answers.
BY_HAND = [
    ("addition", "What is 47 plus 38?", "85"),
    ("addition", "Eva has 99 keys and buys 99 more. How many keys are there now?", "198"),
    ("addition", "There are 10 nuts in a box and 25 in a bag. How many nuts is that?", "35"),
    ("addition", "On Sunday Amy sold 63 nuts, then 15 more. How many were sold?", "78"),
    ("subtraction", "What is 82 minus 37?", "45"),
    ("subtraction", "Of 73 shells 70 are broken. How many shells are whole?", "3"),
    ("subtraction", "Tom needs 50 pens and has 1. How many pens are missing?", "49"),
    ("products", "Tom fills 3 boxes with 24 pens each. How many pens is that?", "72"),
    ("products", "Zoe reads 20 pages a day. How many pages is that in 6 days?", "120"),
    (
        "ages",
        "Tom is 39. Ann is 5 years older than Tom. Bob is 6 years younger than Ann. "
        "How old is Bob?",
        "38",
    ),
    (
        "ages",
        "Bob is 6 years younger than Ann. Ann is 5 years older than Tom. Tom is 39. "
        "How old is Bob?",
        "38",
    ),
    ("weekdays", "Today is Friday. Tom has a test in 17 days. Which day is that?", "Monday"),
    ("weekdays", "Tom leaves on Sunday and comes back 7 days later. Which day is that?", "Sunday"),
    ("months", "It is November. Kim has a test in 3 months. Which month is that?", "February"),
    ("largest", "Which number is the largest: 12, 57, 31?", "57"),
    ("largest", "The prices of nuts are 90, 17, 31, 88. What is the highest price?", "90"),
    ("sorting", "Sort the letters t c a z by the alphabet.", "a c t z"),
    ("flips", "A coin shows heads. Tom flips it. Ann does not flip it. What does it show now?",
     "tails"),
    ("flips", "A lamp is off. Bob presses the switch. Tom presses the switch. "
     "Is the lamp on or off?", "off"),
    ("reversal", "What is k p r a t spelled backwards?", "t a r p k"),
    ("counting", "Cards were drawn: Tom red, Ann blue, Bob red. How many are red?", "2"),
    ("counting", "The lamps are Tom red, Ann blue, Bob red. How many lamps are green?", "0"),
    ("last_letters", "Which letters do the names Tom, Anna, Bob end with?", "m a b"),
]  # fmt: skip

NO_QUESTIONS = [
    ("addition", ""),
    ("addition", "What is 47 plus 38"),
    ("addition", "What is 47 minus 38?"),
    ("addition", "What is 4700 plus 38?"),
    ("addition", "What is 47 plus 38?\n"),
    ("addition", "What is ٤٧ plus 38?"),
    ("addition", "Eva has 46 keys and buys 27 more. How many nuts are there now?"),
    ("subtraction", "What is 37 minus 82?"),
    ("ages", "Tom is 39. Ann is 5 years older than Tom. Tom is 6 years younger than Ann. "
     "How old is Tom?"),
    ("weekdays", "Today is May. Tom has a test in 17 days. Which day is that?"),
    ("months", "It is May. Tom has a test in 300 months. Which month is that?"),
    ("counting", "Cards were drawn: Tom red, Ann pink. How many are red?"),
    ("reversal", "What is kprat spelled backwards?"),
]  # fmt: skip


def test_there_are_enough_domains_with_unique_names() -> None:
    assert sorted(domain.name for domain in ALL_DOMAINS) == sorted(DOMAINS)
    assert 10 <= len(DOMAINS) <= 12


@pytest.mark.parametrize(("domain", "question", "answer"), BY_HAND)
def test_answers_worked_by_hand(domain: str, question: str, answer: str) -> None:
    assert check(domain, question) == answer


@pytest.mark.parametrize(("domain", "question"), NO_QUESTIONS)
def test_what_is_no_question_of_the_domain_has_no_answer(domain: str, question: str) -> None:
    assert check(domain, question) is None
    assert solve(domain, question) is None


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_checker_agrees_with_the_generator(domain: str) -> None:
    rng = random.Random(1)
    for _ in range(500):
        example = make_example(domain, rng)
        assert check(domain, example.question) == example.answer
        assert solve(domain, example.question) == example


@pytest.mark.parametrize("domain", ALL_DOMAINS, ids=lambda domain: domain.name)
def test_every_template_is_read_back_with_the_slots_it_was_written_with(domain) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(2)
    for template, pattern in zip(domain.templates, domain.patterns, strict=True):
        for _ in range(50):
            slots = domain.draw(rng)
            match = pattern.fullmatch(template.format(**slots))
            assert match is not None
            assert match.groupdict().items() <= slots.items()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_question_belongs_to_one_domain_only(domain: str) -> None:
    rng = random.Random(3)
    for _ in range(100):
        question = make_example(domain, rng).question
        assert [name for name in DOMAINS if check(name, question) is not None] == [domain]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_does_not_run_dry(domain: str) -> None:
    rng = random.Random(4)
    assert len({make_example(domain, rng).question for _ in range(4000)}) > 2500


@pytest.mark.parametrize("domain", DOMAINS)
def test_rationales_are_short_and_one_line(domain: str) -> None:
    rng = random.Random(5)
    for _ in range(100):
        example = make_example(domain, rng)
        assert "\n" not in example.question + example.rationale + example.answer
        assert 10 <= len(example.rationale) <= 120


@given(domain=st.sampled_from(DOMAINS), text=st.text())
def test_the_checker_decides_any_text(domain: str, text: str) -> None:
    assert check(domain, text) is None


@given(
    domain=st.sampled_from(DOMAINS),
    seed=st.integers(0, 10_000),
    position=st.integers(0, 200),
    inserted=st.text(max_size=3),
    deleted=st.integers(0, 5),
)
def test_the_checker_never_raises_on_damaged_questions(
    domain: str, seed: int, position: int, inserted: str, deleted: int
) -> None:
    question = make_example(domain, random.Random(seed)).question
    damaged = question[:position] + inserted + question[position + deleted :]
    answer = check(domain, damaged)
    assert answer is None or (isinstance(answer, str) and answer)


def test_an_unknown_domain_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no domain 'poetry'.*addition"):
        check("poetry", "What is 1 plus 1?")
