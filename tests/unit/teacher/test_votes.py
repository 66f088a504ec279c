"""What becomes of examples that are accepted without a gold answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from baldistill.config import Config
from baldistill.records import Example
from baldistill.teacher.acceptance import Acceptance
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.question import Answer
from baldistill.teacher.votes import Poll, hold

PROMPTS = load_prompts("compact", model="bundled")
EXAMPLE = Example("e", "d", "How many?", "")


def acceptance(accept: str = "majority", **values: object) -> Acceptance:
    rationale = {"sees": "question", "accept": accept, "votes": values.pop("votes", 3)}
    values.setdefault("data", {"task": "math"})
    return Acceptance(Config.model_validate({"rationale": rationale, **values}), PROMPTS)


def said(conclusion: str, number: int = 0, **more: object) -> Answer:
    values = {"request_id": str(number), "outcome": "answered", **more}
    return Answer(text=f"So {number}.\nAnswer: {conclusion}", **values)  # type: ignore[arg-type]


def failed(number: int) -> Answer:
    return Answer(str(number), "rejected", reason="no server", failure="no server: gone")


def polled(answers: list[Answer], votes: int = 3) -> tuple[Poll, list[list[int]]]:
    """A poll that comes to its end, and the ballots of each round."""
    poll, rounds = Poll(EXAMPLE, acceptance(votes=votes)), list[list[int]]()

    def ask(asked: list[tuple[Poll, int]]) -> list[Answer]:
        rounds.append([ballot for _, ballot in asked])
        return [answers[ballot] for _, ballot in asked]

    hold([poll], ask)
    return poll, rounds


def test_the_first_of_those_who_agree_is_taken() -> None:
    poll, rounds = polled([said("7"), said("8", 1), said("8.0", 2)])
    assert rounds == [[0], [1], [2]]
    accepted = poll.accepted()
    assert accepted is not None
    assert (accepted.answer, accepted.rationale, accepted.request_id) == ("8", "So 1.", "1")
    assert (accepted.verified, accepted.attempts) == (True, 3)
    assert poll.holder is not None
    assert poll.holder.request_id == "0", "its call holds the unit that the example takes"


def test_without_a_majority_it_is_rejected_as_such() -> None:
    poll, _ = polled([said("7"), said("8", 1), said("9", 2)])
    assert poll.accepted() is None
    assert poll.rejected() == (said("7"), "no majority")
    again, rounds = polled(
        [said("7", outcome="rejected", reason="no majority"), said("8", 1), said("9", 2)]
    )
    assert again.accepted() is None, "as before the resume"
    assert rounds == [[0], [1], [2]]


def test_answers_that_are_cut_off_or_without_steps_do_not_vote() -> None:
    cut = said("7", cut=True)
    poll, _ = polled([cut, said("7", 1), Answer("2", "answered", "Answer: 7")])
    assert poll.accepted() is None
    poll, rounds = polled([cut, cut, cut])
    assert poll.rejected() == (cut, "no conclusion, cut at max_new_tokens")
    assert rounds == [[0], [1, 2]]


@pytest.mark.parametrize("votes", [3, 4, 5])
def test_one_call_at_a_time_until_one_holds_the_unit(votes: int) -> None:
    answers = [failed(0), *(said("7", number) for number in range(1, votes))]
    poll, rounds = polled(answers, votes)
    assert rounds[:2] == [[0], [1]]
    assert poll.holder == answers[1]
    assert poll.accepted() is not None
    poll, rounds = polled([failed(number) for number in range(votes)], votes)
    assert poll.rejected() == (failed(len(poll.answers) - 1), "no server")


def test_a_cap_ends_a_poll() -> None:
    poll, rounds = polled([said("7"), Answer("1", "refused", reason="calls"), said("7", 2)])
    assert (poll.refused, rounds) == ("calls", [[0], [1]])


def test_any_well_formed_conclusion_is_accepted() -> None:
    bench = acceptance("any")
    assert bench.fault(EXAMPLE, said("7")) is None
    listed = replace(EXAMPLE, answer="8", alternatives=["9"])  # of a gold answer that is not used
    accepted = bench.accepted(listed, said("7"), "7", 1)
    assert accepted.alternatives is None
    assert (accepted.answer, accepted.verified) == ("7", None)
    assert bench.fault(EXAMPLE, said("7", cut=True)) == "no conclusion, cut at max_new_tokens"
    assert bench.fault(EXAMPLE, Answer("0", "answered", "I do not know.")) == "no conclusion"
    short = acceptance("any", data={"task": "math", "max_answer_chars": 3})
    assert short.fault(EXAMPLE, said("123456")) == "over-long"
    labels = acceptance("any", student={"target": "label"})
    assert labels.fault(EXAMPLE, Answer("0", "answered", "Answer: 7")) is None
    assert labels.accepted(EXAMPLE, said("7"), "7", 1).rationale is None


def test_a_choice_is_accepted_by_its_letter() -> None:
    example = Example("e", "d", "Which?\nA) red\nB) blue", "", ["red", "blue"])
    bench = acceptance("any", data={"task": "multiple_choice"})
    answer = said("(b) blue")
    assert bench.accepted(example, answer, bench.read(example, answer).conclusion, 1).answer == "B"
