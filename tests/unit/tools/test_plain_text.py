"""The text that the bundled student is trained on."""

import random
import re

from baldistill.bundled import DOMAINS, check
from baldistill.bundled.domains import make_example
from tools.bundled_models.plain_text import make_plain_text


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)


def test_plain_text_holds_no_question_and_no_answer_format() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        text = make_plain_text(rng)
        assert "?" not in text
        assert "Question" not in text
        assert "Answer" not in text
        for line in text.split("\n"):
            assert all(check(domain, line) is None for domain in DOMAINS)


def test_plain_text_shares_no_wording_with_questions_but_the_events_of_flips() -> None:
    rng = random.Random(1)
    seen = set[tuple[str, ...]]()
    for _ in range(3000):
        words = _words(make_plain_text(rng))
        seen.update(zip(*(words[i:] for i in range(5)), strict=False))
    shared = 0
    for domain in set(DOMAINS) - {"flips", "last_letters", "counting", "reversal", "sorting"}:
        for _ in range(50):
            words = _words(make_example(domain, rng).question)
            shared += sum(
                gram in seen for gram in zip(*(words[i:] for i in range(5)), strict=False)
            )
    assert shared == 0


def test_plain_text_is_the_same_for_the_same_seed() -> None:
    assert make_plain_text(random.Random(3)) == make_plain_text(random.Random(3))
