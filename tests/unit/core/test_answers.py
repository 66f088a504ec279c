import builtins
import sys
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from baldistill.core.answer_text import fold, squad_normalise
from baldistill.core.answers import equal, extract, marked_answer, proper_answer, word_f1

CHOICES = ["library", "bank", "department store", "mall"]
QUESTION = "Where is it?\nA) library\nB) bank\nC) department store\nD) mall"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is 8 + 9.\nAnswer: 17", "17"),
        ("Answer: 5\nNo, wait.\nAnswer: 6", "6"),  # the last one decides
        ("**Answer:** 42.", "42"),
        ("Final answer:\n42 apples", "42"),
        ("Answer: I do not know, 12 or 13", "i do not know, 12 or 13"),  # no one number
        ("Answer: - 2", "-2"),
        ("Answer: +2", "2"),
        ("Answer: the 23rd", "the 23rd"),
        ("Answer:", None),
        ("Answer: 8 + 9 = 17", "17"),
        ("Answer: $1,234.50", "1234.5"),
        ("Answer: 1,234,567 people", "1234567"),
        ("Answer: 3.1400", "3.14"),
        ("Answer: .5", "0.5"),
        ("Answer: 1/3", "1/3"),
        ("Answer: 1 1/2 cups", "1.5"),
        ("Answer: 50 percent", "50%"),
        ("Answer: -$5", "-5"),
        ("Answer: \u22123", "-3"),
        ("Answer: 1e3", "1000"),
        ("Answer: three", "3"),
        ("Answer: 10:30", "10:30"),
        ("Answer: (1, 2)", "(1, 2)"),
        ("Answer: \\$5", "5"),
        ("Answer: 12\\text{ cm}", "12"),
        ("Answer: $\\frac{1}{2}$", "\\frac{1}{2}"),
        ("It is \\boxed{\\frac{1}{2}}, we see.", "\\frac{1}{2}"),
        ("so\n#### 1,000", "1000"),
        ("70 - 27 =\n\n43", "43"),
        ("The answer is 23 + 18 + 28, which equals 69.", "69"),
        ("Of the 8, the answer is 5. That leaves 3.", "5"),
        ("She makes $10 every day, on the 3rd too.", "10"),
        ("no figures at all", None),
    ],
)
def test_math(text, answer):
    assert extract("math", text) == answer


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("0.5", "1/2", True),
        ("1,000", "1000.00", True),
        ("$5", "5 dollars", True),
        ("50%", "50", True),
        ("50%", "0.5", True),
        ("3.3333333", "10/3", True),
        ("3.33", "10/3", False),
        ("-0", "0", True),
        ("5", "-5", False),
        ("(1, 2)", "(1,2)", True),
        ("Monday", "monday.", True),
        ("5", "five", True),
        ("x", "5", False),
        ("1{,}000", "1000", True),
        ("1,\\!000", "1000", True),
        ("2\\pi", "2π", True),
        ("3\\pi", "3 pi", True),
        ("5 \\text{ cm}^2", "5", True),
        ("5 cm^2", "5", True),
        ("5 km/h", "5", True),
        ("5 m", "5", True),
        ("90^\\circ", "90", True),
        ("a total of 42 red apples left over", "42", True),
        ("3,5,7", "3, 5, 7", True),
        ("3:2", "3 : 2", True),
        ("6 - 5i", "6-5i", True),
        ("2 x + 3", "2x+3", True),
        ("x = 2 or x = 3", "x=2 or x=3", True),
    ],
)
def test_math_equality(a, b, same):
    assert equal("math", a, b) == same
    assert equal("math", b, a) == same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("6-5i", "6+5i"),
        ("3i", "3"),
        ("2π", "2"),
        ("2a", "2b"),
        ("6xy", "6"),
        ("4a+5", "4a+6"),
        ("3,5,7", "3,9,11"),
        ("1,2", "1"),
        ("-2,1", "-2,5"),
        ("1 2", "12"),
        ("3:2", "3:5"),
        ("x>5", "x<5"),
        ("x >= 5", "5"),
        ("(5, inf)", "5"),
        ("5√2", "5"),
        ("square root of 5", "5"),
        ("8 + 9", "8"),
        ("2 or 3", "2"),
        ("3 to 5", "3"),
        ("x = 5, y = 3", "3"),
        ("x = 2 or x = 3", "3"),
        ("5 \\text{ cm}^2", "25"),
    ],
)
def test_expressions_are_more_than_their_first_number(a, b):
    assert not equal("math", a, b)
    assert not equal("math", b, a)
    assert equal("math", extract("math", f"Answer: {a}"), a)


LATEX = [
    ("2 \\text{ or } 3", "2", False),
    ("\\frac{\\pi}{2}", "π/2", True),
    ("\\frac{1}{2}", "0.5", True),
    ("\\sqrt{8}", "2\\sqrt{2}", True),
    ("x^2+1", "1+x^2", True),
    ("\\frac{1}{2}", "\\frac{1}{3}", False),
    ("9^{9^{9^9}}", "1", False),  # never given to a computer algebra system
]


@pytest.mark.parametrize(("a", "b", "same"), LATEX)
def test_latex_equality(a, b, same):
    pytest.importorskip("math_verify")
    assert equal("math", a, b) == same


def test_latex_equality_works_off_the_main_thread():
    pytest.importorskip("math_verify")
    results: list[bool] = []
    worker = threading.Thread(
        target=lambda: results.append(equal("math", "\\sqrt{18}", "3\\sqrt{2}"))
    )
    worker.start()
    worker.join()
    assert results == [True]


def test_without_the_package_only_latex_asks_for_it(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "math_verify":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "math_verify", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    assert equal("math", "1/2", "0.5")
    assert not equal("math", "x+1", "1+x")
    assert equal("math", "\\frac{7}{2}", "\\frac{7}{2}")
    with pytest.raises(ModuleNotFoundError, match=r"baldistill\[math\]"):
        equal("math", "\\frac{7}{2}", "3.5")


@given(st.decimals(-(10**9), 10**9, places=4))
def test_numbers_survive_every_way_of_writing_them(number):
    for text in (f"{number}", f"{number:,}", f"{number}0", f"${number}"):
        assert equal("math", extract("math", f"Answer: {text}"), str(number))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: (B)", "B"),
        ("Answer: B)", "B"),
        ("Answer: B.", "B"),
        ("Answer: b", "B"),
        ("Answer: option B", "B"),
        ("Answer: (B) bank", "B"),
        ("Answer: B because money", "B"),
        ("Answer: Bank", "B"),
        ("Answer: a bank", "B"),
        ("Answer: the department store.", "C"),
        ("Answer: F", None),  # no such choice
        ("Answer: bank or mall", None),
        ("(A) and (B) fit. The answer is probably B, because of money.", "B"),
        ("The most likely answer is (C) department store.", "C"),
        ("Therefore, the correct option must be D.", "D"),
        ("I think (B) is the best choice.", "B"),
        ("Not a library. You would find it in a bank.", "B"),
        ("It may be a bank or a mall.", None),
        ("Who knows.", None),
    ],
)
def test_multiple_choice(text, letter):
    assert extract("multiple_choice", text, CHOICES) == letter
    assert extract("multiple_choice", text, question=QUESTION) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("It is not open at night. The answer must be (B", "B"),  # cut off
        ("Choice (C) is correct because of X. Choice (A) is incorrect: a spelling error.", "C"),
        ("One finds books in a library. One would not find them in a mall.", "A"),
        ("Option (D) would not be found in a bank. That leaves us with (A), library.", "A"),
    ],
)
def test_a_choice_that_is_ruled_out_is_no_answer(text, letter):
    assert extract("multiple_choice", text, CHOICES) == letter


def test_a_text_that_begins_with_a_letter_is_no_letter():
    worms = ["C. elegans", "D. melanogaster", "E. coli", "A, B, and C"]
    for letter, text in zip("ABCD", worms, strict=True):
        assert extract("multiple_choice", f"Answer: {text}", worms) == letter
        assert equal("multiple_choice", text, letter, worms)
    assert extract("multiple_choice", "Answer: C. The third.", worms) == "C"
    assert extract("multiple_choice", "Answer: B", ["B", "A"]) == "B"


def test_choices_that_differ_in_their_signs_are_not_named_by_their_words():
    powers = ["(x - 1)2", "(x + 1)2"]
    assert extract("multiple_choice", "It is (x + 1)2 in all.", powers) is None
    assert extract("multiple_choice", "Answer: (x + 1)2", powers) == "B"


def test_choices_that_are_numbers_and_dates():
    assert extract("multiple_choice", "So it is 36 miles.", ["$36", "45", "3.6"]) == "A"
    days = ["04/29/2021", "05/01/2021"]
    assert extract("multiple_choice", "So today is May 1, 2021.", days) == "B"


def test_a_longer_choice_is_not_taken_for_a_shorter_one():
    assert extract("multiple_choice", "It is in New York.", ["york", "new york"]) == "B"


def test_letters_are_read_without_choices():
    assert extract("multiple_choice", "Answer: (C)") == "C"
    assert equal("multiple_choice", "(c)", "C")
    assert not equal("multiple_choice", "A", "C")
    assert equal("multiple_choice", "B", "bank", CHOICES)
    assert equal("multiple_choice", "bank", "(B)", question=QUESTION)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Answer: Yes", "yes"),
        ("Answer: no, it is not", "no"),
        ("Answer: maybe", None),
        ("There is no wind. So yes, it works.", "yes"),
        ("Yes, some do.\nThere is no other.", "yes"),
        ("Therefore, the final answer is no.", "no"),
        ("There is no guarantee of that.", None),
    ],
)
def test_yes_and_no(text, label):
    assert extract("classification", text, ["yes", "no"]) == label


def test_labels_keep_their_spelling():
    labels = ["money-fx", "Earn", "acq"]
    assert extract("classification", "Answer: MONEY-FX.", labels) == "money-fx"
    assert extract("classification", "It reads like earn to me.", labels) == "Earn"
    assert extract("classification", "Answer: Crude Oil") == "Crude Oil"
    assert equal("classification", "crude  oil", "Crude Oil.")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Reversed.\nAnswer: c, b, a", "c, b, a"),
        ('So the final answer would be "berl".', "berl"),
        ('We have "y" + "o" = "yo".', "yo"),
        ("The answer is yajo.", "yajo"),
        ("Nothing is said.", None),
    ],
)
def test_free_text(text, answer):
    assert extract("free_text", text) == answer


def test_free_text_equality():
    assert equal("free_text", "c,b , A", '"c, b, a".')
    assert equal("free_text", "y a j o", "yajo")
    assert not equal("free_text", "1 2", "12")
    assert equal("free_text", "\ufb01ve", "FIVE")


def test_qa():
    assert extract("qa", "He was born there.\nAnswer: in Paris, France") == "in Paris, France"
    assert extract("qa", "He grew up in Lyon. He lived in Paris.") == "He lived in Paris."
    assert equal("qa", "The Beatles!", "beatles")
    assert squad_normalise("The  cat's, A hat.") == "cats hat"


@pytest.mark.parametrize("task", ["qa", "free_text"])
def test_the_answers_line_decides(task):
    assert extract(task, "So.\nAnswer: Paris\nIs there more to say?") == "Paris"
    assert extract(task, "So.\nAnswer:\n\nParis\nIs there more?") == "Paris"
    assert extract(task, "So.\nAnswer:\n") is None


def test_word_f1_by_hand():
    assert word_f1("in Paris, France", "Paris") == pytest.approx(2 * 1 / (3 + 1))
    assert word_f1("the cat the cat", "a cat") == pytest.approx(2 * 1 / (2 + 1))
    assert word_f1("x", "y") == 0
    assert word_f1(None, "y") == 0
    assert word_f1("the", "a") == 1  # both are empty


@given(st.text(), st.text())
def test_word_f1_is_symmetric_and_bounded(a, b):
    assert word_f1(a, b) == word_f1(b, a)
    assert 0 <= word_f1(a, b) <= 1
    assert word_f1(a, a) == 1


TASKS = ["free_text", "multiple_choice", "classification", "math", "qa"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("text", ["", ",:", ". . .", "\"'.'\"", "***", "\uff0c"])
def test_quotes_and_stops_are_no_answer(task, text):
    assert extract(task, f"Answer: {text}") is None
    assert proper_answer(task, text) is None


COMPOSED_LATE = "\u1100\u1161\u11a8\u0345\u0301\u030c\u03b1\u01f0\u0130\u1e9e\u00b4\uff0c"
"""Letters that become one letter, or several, only once others were folded."""


@given(st.text() | st.text(alphabet="aB1 ,.:;!?'\"`*-\u2018\n" + COMPOSED_LATE))
@example(",:")
@example(". .")
@example("\u01f0")
@example("\u1100 \u1161")
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@given(
    st.sampled_from(TASKS),
    st.text(alphabet="aA0(): .,;!?'\"*\n$%/=-\\{}^yes no"),
    st.booleans(),
)
@example("math", ",:", True)
def test_any_text_gives_an_answer_that_equals_itself_or_none(task, text, marked):
    choices = ["yes", "no", "a 0"] if task in ("multiple_choice", "classification") else None
    answer = extract(task, f"Answer: {text}" if marked else text, choices)
    if answer is not None:
        assert answer.strip()
        assert equal(task, answer, answer)
    assert not equal(task, answer, None)


@pytest.mark.parametrize(
    "piece", ["9", "1,000 ", "answer is ", "(A) ", "( ", '"', "a.", "^{9", "-", "= "]
)
@pytest.mark.parametrize("task", TASKS)
def test_a_runaway_response_is_read_in_no_time(task, piece):
    text = piece * 20_000
    for response in (text, f"Answer: {text}"):
        answer = extract(task, response, ["yes", "no"])
        assert equal(task, answer, answer) == (answer is not None)


def test_marked_answer_does_not_guess():
    assert marked_answer("The answer is 5.") is None
    assert marked_answer("r\nAnswer: 5\n") == "5"


def test_unknown_tasks_are_named():
    with pytest.raises(ValueError, match="unknown task type 'poetry'"):
        extract("poetry", "x")
    with pytest.raises(ValueError, match="unknown task type 'poetry'"):
        equal("poetry", "x", "x")
