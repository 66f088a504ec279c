"""Choices shown in the question, and gold answers among them."""

import pytest

from baldistill.data.choices import check_choices, show_choices


@pytest.mark.parametrize("answer", ["red", " RED ", "Dark  Blue", "B", "(b)", "b)", "A."])
def test_texts_and_letters_are_among_the_choices(answer: str) -> None:
    assert check_choices(answer, ["Red", "dark blue"]) is None


@pytest.mark.parametrize("answer", ["green", "C", "2", "re"])
def test_other_answers_are_not(answer: str) -> None:
    assert "neither the text nor the letter" in str(check_choices(answer, ["Red", "dark blue"]))


def test_too_many_choices() -> None:
    assert "27 choices" in str(check_choices("1", [str(i) for i in range(27)]))


def test_choices_are_shown_once() -> None:
    shown = show_choices("Which?", ["red", "blue"])
    assert shown == "Which?\nA) red\nB) blue"
    assert show_choices(shown, ["red", "blue"]) == shown
    assert show_choices("Which?\n(A) red\n(B) blue", ["red", "blue"]).count("red") == 1
    assert show_choices("Which? A) red B) blue", ["red", "blue"]).endswith("\nB) blue")
