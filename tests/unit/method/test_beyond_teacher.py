"""The teacher's own error that `budget.policy.beyond_teacher` subtracts: DDK (Liu et al. 2024)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from baldistill.config.loading import load_config
from baldistill.core.budget import quotas
from baldistill.core.policies import Asked, MeasuredGain
from baldistill.method.earlier import asked_teacher_before
from baldistill.method.plan import StudentErrors, policy_of
from baldistill.records import ANNOTATED, REJECTED
from baldistill.storage import Storage

DDK = "budget.policy={kind: gain, objective: macro, floor: 0, beyond_teacher: true}"


def row(domain: str, number: int, attempts: int = 1, **values: Any) -> dict[str, Any]:
    example = {"example_id": f"{domain}-{number}", "domain": domain, "question": "?", "answer": "7"}
    made = {"source": "real", "rationale": "So.", "verified": True, "attempts": attempts}
    return {**example, **made, "request_id": f"{domain}-{number}-{attempts}", **values}


def a_stage(
    storage: Storage, stage: int, rows: list[dict[str, Any]], dropped: dict[str, str]
) -> None:
    """Write what a stage leaves: a rejected answer for each attempt that was not good."""
    before = [(r["example_id"], r["domain"], n) for r in rows for n in range(1, r["attempts"])]
    before += [(name, domain, n) for name, domain in dropped.items() for n in (1, 2)]
    rejected = [
        {
            "request_id": f"{name}-{attempt}",
            "purpose": "rationale",
            "domain": domain,
            "example_id": name,
            "reason": "wrong conclusion",
        }
        for name, domain, attempt in before
    ]
    folder = f"stages/{stage:02}"
    tables = {"annotated": (rows, ANNOTATED), "rejected": (rejected, REJECTED)}
    for name, (content, schema) in tables.items():
        storage.write_table(f"{folder}/{name}.parquet", pa.Table.from_pylist(content, schema))
    storage.write_json(f"{folder}/dropped.json", dropped)


def policy(teacher: dict[str, Asked], answers: dict[str, Asked]) -> MeasuredGain:
    found = policy_of(load_config(None, [DDK]), StudentErrors(answers), {}, teacher)
    assert isinstance(found, MeasuredGain)
    return found


def test_an_example_counts_once_however_many_attempts_it_took(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    twice = [row("second try", n, attempts=2) for n in range(10)]
    once = [row("first try", n) for n in range(10)]
    a_stage(storage, 1, [*twice, *once], {})
    # a cascade: its dear teacher solved what the cheap one could not, in two attempts each
    cascade = [row("cascade", n, attempts=3) for n in range(6)]
    a_stage(storage, 2, cascade, {"cascade-6": "cascade", "hopeless-0": "hopeless"})
    teacher = asked_teacher_before(storage, 3)
    assert teacher == {
        "cascade": Asked(7, 1),
        "first try": Asked(10, 0),
        "hopeless": Asked(1, 1),
        "second try": Asked(10, 0),
    }
    answers = dict.fromkeys(["first try", "second try"], Asked(38, 19))
    counts = dict.fromkeys(answers, 50)
    shares = quotas(policy(teacher, answers), counts, 3, 4, 100)
    assert shares == {"first try": 50, "second try": 50}, "the teacher can do both"


def test_what_was_kept_without_a_good_attempt_was_not_solved(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path)
    kept = row("a", 0, attempts=2, verified=False)
    label_only = row("a", 1, attempts=2, verified=False, rationale=None)
    unchecked = row("b", 0, verified=None)
    no_call = row("b", 1, request_id=None, rationale=None, verified=None, attempts=0)
    new = row("a", 2, source="synthetic")
    further = row("b", 0, source="further", request_id="b-0-again")
    a_stage(storage, 1, [kept, label_only, unchecked, no_call, new, further], {})
    assert asked_teacher_before(storage, 2) == {"a": Asked(2, 2), "b": Asked(1, 0)}
    assert asked_teacher_before(storage, 1) == {}


def ddk(student: dict[str, float], teacher: dict[str, float]) -> dict[str, float]:
    """Equation 2 of DDK: r_d = a psi_d / sum(psi) + (1 - a) / N, psi_d = r_d exp(PPL_S / PPL_T).

    The factors before are equal, and a = 1/2, as in the paper. An error e stands for the
    perplexity 1 / (1 - e): that of right answers which have the probability 1 - e.
    """
    factors = {
        domain: math.exp((1 - teacher[domain]) / (1 - error)) / len(student)
        for domain, error in student.items()
    }
    whole = sum(factors.values())
    return {d: 0.5 * f / whole + 0.5 / len(student) for d, f in factors.items()}


def test_the_domain_with_the_larger_gap_gets_more_as_in_ddk(tmp_path: Path) -> None:
    """By hand: the student is wrong in 1/2 of both, the teacher in 1/40 and in 19/40."""
    storage = Storage.open(tmp_path)
    solved = [row("able", n) for n in range(38)]
    poor = [row("unable", n) for n in range(20)]
    a_stage(storage, 1, solved + poor, {f"unable-{n}": "unable" for n in range(20, 38)})
    teacher = asked_teacher_before(storage, 2)
    assert teacher == {"able": Asked(38, 0), "unable": Asked(38, 18)}
    answers = dict.fromkeys(teacher, Asked(38, 19))
    found = policy(teacher, answers)
    assert found.error("able") == pytest.approx(20 / 40 - 1 / 40)
    assert found.error("unable") == pytest.approx(20 / 40 - 19 / 40)
    # exp(39/40 * 2) = 7.029 and exp(21/40 * 2) = 2.858: shares 0.711 and 0.289, half of it equal
    theirs = ddk({"able": 1 / 2, "unable": 1 / 2}, {"able": 1 / 40, "unable": 19 / 40})
    assert theirs == pytest.approx({"able": 0.6055, "unable": 0.3945}, abs=1e-4)
    ours = quotas(found, {"able": 50, "unable": 50}, 2, 4, 100)
    # q + n0 in proportion to the gap^(2/3): 120 units of 19^(2/3) and 1
    assert ours["able"] == pytest.approx(120 * 19 ** (2 / 3) / (19 ** (2 / 3) + 1) - 10, abs=1)
    assert ours["able"] > ours["unable"]


@pytest.mark.parametrize("wrong", [(0, 12), (12, 0), (5, 9), (30, 31), (7, 7)])
@pytest.mark.parametrize("varies", ["student", "teacher"])
def test_two_domains_are_in_the_order_of_ddk(wrong: tuple[int, int], varies: str) -> None:
    """Where one of both models does equally well in the two domains, the rules agree."""
    domains = ("a", "b")
    differ = {d: Asked(38, n) for d, n in zip(domains, wrong, strict=True)}
    # the teacher is the better one: a gap below 0 is cut off here, and not in DDK
    same = dict.fromkeys(domains, Asked(38, 0 if varies == "student" else 34))
    student, teacher = (differ, same) if varies == "student" else (same, differ)
    errors = [{d: (m[d].wrong + 1) / 40 for d in domains} for m in (student, teacher)]
    theirs = ddk(*errors)
    found = policy(teacher, student)
    ours = {domain: found.error(domain) for domain in domains}
    assert (ours["a"] > ours["b"]) == (theirs["a"] > theirs["b"])
    assert (ours["a"] == ours["b"]) == (theirs["a"] == theirs["b"])
