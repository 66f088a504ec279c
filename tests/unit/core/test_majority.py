"""A majority is that of all votes, and no vote is asked for that cannot matter."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from baldistill.core.majority import Ballots, quorum

CONCLUSIONS = st.sampled_from(["a", "b", "c", None])


@given(st.integers(2, 9).flatmap(lambda n: st.lists(CONCLUSIONS, min_size=n, max_size=n)))
def test_the_outcome_is_that_of_all_votes(votes: list[str | None]) -> None:
    counts = Counter(vote for vote in votes if vote is not None)
    most = [vote for vote, count in counts.items() if 2 * count > len(votes)]
    ballots = Ballots(len(votes), str.__eq__)
    while number := ballots.missing():
        for vote in votes[ballots.cast : ballots.cast + number]:
            ballots.add(vote)
    winner = ballots.winner()
    assert (winner is None) == (not most)
    if winner is not None:
        conclusion, members = winner
        assert conclusion == most[0]
        assert [votes[member] for member in members] == [conclusion] * quorum(len(votes))
        assert members[-1] == ballots.cast - 1, "nobody is asked after the majority is there"
    else:
        assert counts.most_common(1) == [] or ballots.cast <= len(votes)


def test_votes_that_agree_at_once_are_the_fewest() -> None:
    ballots = Ballots(5, str.__eq__)
    assert ballots.missing() == 3
    for vote in ("a", "b", "a"):
        ballots.add(vote)
    assert ballots.missing() == 1
    ballots.add(None)
    assert ballots.missing() == 1
    ballots.add("b")
    assert (ballots.missing(), ballots.winner()) == (0, None)


def test_equality_is_the_task_s_own() -> None:
    ballots = Ballots(3, lambda a, b: float(a) == float(b))
    for vote in ("1", "2", "1.0"):
        ballots.add(vote)
    assert ballots.winner() == ("1", [0, 2])
