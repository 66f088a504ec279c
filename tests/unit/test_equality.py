"""Equality that ends: what a computer algebra system would work on for hours is different."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("math_verify")
pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="limits of POSIX")

from baldistill import equality  # noqa: E402
from baldistill.config.loading import load_config  # noqa: E402
from baldistill.core.label_sets import Labels  # noqa: E402
from baldistill.equality import NOT_COMPARED, LatexComparer, NotComparedError, is_accepted  # noqa: E402
from baldistill.records import Example  # noqa: E402
from baldistill.student.answer import mark  # noqa: E402
from baldistill.teacher.acceptance import Acceptance  # noqa: E402
from baldistill.teacher.judge import Judge  # noqa: E402
from baldistill.teacher.parsing import NewExample  # noqa: E402
from baldistill.teacher.prompts import load_prompts  # noqa: E402
from baldistill.teacher.question import Answer  # noqa: E402

ENDLESS = "\\binom{999999999}{499999}"  # had not returned after 40 s
SAME = ("\\sqrt{8}", "2\\sqrt{2}")


@pytest.fixture(scope="module")
def comparer() -> Iterator[LatexComparer]:
    """One for all tests: each start of a helper imports a computer algebra system."""
    comparer = LatexComparer(cpu_seconds=0.5)
    yield comparer
    comparer.close()


def helper_of(comparer: LatexComparer) -> int:
    assert comparer.equal(*SAME)
    assert comparer._helper is not None
    return comparer._helper.pid


def test_what_does_not_end_is_not_compared_and_the_next_answers_are(
    comparer: LatexComparer,
) -> None:
    first = helper_of(comparer)
    with pytest.raises(NotComparedError):
        comparer.equal(ENDLESS, "1")
    assert comparer.equal(*SAME)
    assert not comparer.equal("\\frac{1}{2}", "\\frac{1}{3}")
    assert helper_of(comparer) != first


def test_a_busy_machine_changes_no_result(comparer: LatexComparer) -> None:
    """The limit is processor time: a helper that gets none for a while still answers."""
    helper = helper_of(comparer)
    found: list[bool] = []
    os.kill(helper, signal.SIGSTOP)
    asker = threading.Thread(target=lambda: found.append(comparer.equal(*SAME)))
    try:
        asker.start()
        asker.join(timeout=3 * comparer.cpu_seconds)
        assert found == []
    finally:
        os.kill(helper, signal.SIGCONT)
        asker.join()
    assert found == [True]


def test_a_helper_that_somebody_kills_is_replaced(comparer: LatexComparer) -> None:
    os.kill(helper_of(comparer), signal.SIGKILL)
    assert comparer.equal(*SAME)


def test_threads_get_their_own_answers(comparer: LatexComparer) -> None:
    def ask(number: int) -> None:
        one, other = f"\\sqrt{{{number}}}", f"\\sqrt{{{number % 4}}}"
        if comparer.equal(one, other) != (number < 4):
            wrong.append(number)

    wrong: list[int] = []
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_ctrl_c_leaves_no_reply_for_the_next_question(comparer: LatexComparer) -> None:
    helper = helper_of(comparer)
    os.kill(helper, signal.SIGSTOP)  # so that the question is still open when Ctrl-C comes
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        comparer.equal(*SAME)
    assert not comparer.equal("\\frac{1}{2}", "\\frac{1}{3}")


def test_a_helper_ends_when_nobody_can_ask_any_more(comparer: LatexComparer) -> None:
    helper = helper_of(comparer)
    comparer.close()
    assert not Path(f"/proc/{helper}").exists()


def test_such_an_answer_is_rejected_or_wrong_and_says_why(
    comparer: LatexComparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equality, "_comparer", comparer)
    config = load_config(overrides=["data.task=math"])
    row = {"example_id": "1", "domain": "d", "answer": "1", "choices": None, "question": "?"}
    assert mark(row, ENDLESS, config) is None
    assert mark(row, "1.0", config) == 1.0
    assert equality.same_answer("math", ENDLESS, ENDLESS) is True, "texts decide"
    example = Example(example_id="1", domain="d", question="?", answer="1", choices=None)
    answer = Answer("r", "answered", f"It is long.\nAnswer: {ENDLESS}")
    prompts = load_prompts("compact", model="m")
    assert Acceptance(config, prompts).fault(example, answer) == NOT_COMPARED
    judge = Judge(config, Labels({}, {}))
    assert judge.agrees(NewExample("?", "", "1"), "d", answer.text) is None


def test_one_of_several_answers_is_enough() -> None:
    assert is_accepted("free_text", "NYC", ["New York", "nyc"]) is True
    assert is_accepted("free_text", "LA", ["New York", "nyc"]) is False
    assert is_accepted("free_text", None, ["New York"]) is False


@pytest.mark.parametrize("task", ["free_text", "qa"])
def test_student_and_teacher_may_give_any_of_several_answers(task: str) -> None:
    config = load_config(overrides=[f"data.task={task}"])
    row = {"example_id": "1", "domain": "d", "answer": "New York", "choices": None, "question": "?"}
    further = {"alternatives": ["Big Apple", "NYC"]}
    assert mark(row, "nyc", config) == 0.0
    assert mark(row | further, "nyc", config) == 1.0
    prompts = load_prompts("compact", model="m")
    answer = Answer("r", "answered", "It is large.\nAnswer: big apple")
    example = Example(**row)
    acceptance = Acceptance(config, prompts)
    assert acceptance.fault(example, answer) == "wrong conclusion"
    assert acceptance.fault(replace(example, **further), answer) is None
