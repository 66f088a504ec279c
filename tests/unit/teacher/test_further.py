"""Which real example is explained again, and under which attempt."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from baldistill.config import Config
from baldistill.generation.types import Sampling
from baldistill.records import AnnotatedExample, Example, RejectedAnswer
from baldistill.teacher.further import Explainable, _Explainer, _next, explainable
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.question import request_id_of
from baldistill.teacher.rationale import Explained
from baldistill.teacher.teacher import Teacher

PROMPTS = load_prompts("compact", model="bundled")
SAMPLING = Sampling(40, 0.7)


def row(name: str, rationale: str | None, source: str = "real") -> AnnotatedExample:
    return AnnotatedExample(
        name, "d", f"{name}?", "x",
        source=source, rationale=rationale, verified=True, attempts=1, request_id=None,
    )  # fmt: skip


def explainer(**values: Any) -> _Explainer:
    """One whose teacher is never asked."""
    config = Config.model_validate(values)
    teacher = Teacher(None, None, None, config.teacher.tiers[0], PROMPTS)  # type: ignore[arg-type]
    return _Explainer(teacher, config, 2, set(), Explained())


def test_what_earlier_stages_wrote_is_known_whatever_the_order_of_their_rows() -> None:
    """Tables are sorted by source: further rationales stand before the real rows."""
    rows = [
        row("a", "So  it\nIS.", "further"),
        row("a", "So."),
        row("b", "So."),
        row("c", None),
        row("s", "New.", "synthetic"),
        replace(row("e", "So."), domain="another"),
    ]
    bad = RejectedAnswer(
        request_id="r", purpose="rationale", domain="d", example_id="b", reason="x", text=None
    )
    found = explainable(rows, [bad, bad, replace(bad, example_id=None)], {"d", "empty"}, 0)
    assert found.keys() == {"d", "empty"}
    known = {one.example.example_id: (one.texts, one.tries) for one in found["d"]}
    assert known == {"a": ({"so it is.", "so."}, 2), "b": ({"so."}, 3)}
    orders = [[one.order for one in explainable(rows, [], {"d"}, seed)["d"]] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=6),
    st.integers(0, 20),
    st.sampled_from([None, 2, 3]),
)
def test_those_with_the_fewest_tries_are_asked_first(
    numbers: list[tuple[int, int]], wanted: int, most: int | None
) -> None:
    examples = [
        Explainable(Example(str(i), "d", "?", "x"), set(map(str, range(n))), n + bad, f"{i % 2}")
        for i, (n, bad) in enumerate(numbers)
    ]
    before = [one.tries for one in examples]
    chosen = _next(examples, wanted, most)
    counts = Counter(one.example.example_id for one in chosen)
    room = [None if most is None else max(0, most - n) for n, _ in numbers]
    if most is None:
        assert len(chosen) == (wanted if examples else 0)
    else:
        assert len(chosen) == min(wanted, sum(n or 0 for n in room))
    for place, one in enumerate(examples):
        assert one.tries == before[place] + counts[str(place)]
        assert room[place] is None or counts[str(place)] <= (room[place] or 0)
    has_room = [o for o, n in zip(examples, room, strict=True) if n is None or n > counts[
        o.example.example_id]]  # fmt: skip
    last = {one.example.example_id: one.tries for one in chosen}
    if last and has_room:
        assert max(last.values()) <= min(one.tries for one in has_room) + 1


def test_no_attempt_is_taken_twice() -> None:
    work, example = explainer(), Example("a", "d", "a?", "x")
    identity = work.teacher.config.identity
    first = [work._question(example, SAMPLING) for _ in range(3)]
    assert [question.attempt for question in first] == [1, 2, 3]
    later = explainer()
    later.asked = {request_id_of(question, identity, SAMPLING) for question in first[::2]}
    assert [later._question(example, SAMPLING).attempt for _ in range(2)] == [2, 4]
    assert {question.units for question in first} == {1}


def test_the_votes_of_a_majority_are_attempts_too() -> None:
    work = explainer(rationale={"sees": "question", "accept": "majority", "votes": 4})
    question = work._question(Example("a", "d", "a?", "x"), SAMPLING)
    assert question.attempt == 4
    assert "Gold answer" not in str(question.prompt)
