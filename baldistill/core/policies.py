"""Balancing policies: a user chooses one to share the budget among domains.

`core.budget` turns a policy into quotas. The config reads these classes from YAML, so each has a
`kind`, and its docstrings describe options. Each has `questions`, too: how many real examples of
each domain the student answers before a stage but the first. A policy with 0 asks for none.

Source: BalDistill (arXiv 2406.13114), section 3, "Naive Balancing" (BalDistill-N: B / (K l)
examples of a domain) and "Adaptive Balancing" (BalDistill-A: (n_d / N) (B / K) (K - i) / K
+ B / (K l) i / K). The paper's formulas stand in its text, without numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from baldistill.core.own_policy import MeasuredOwn, OwnPolicy


@dataclass(frozen=True, slots=True)
class Natural:
    """Every stage follows the corpus: w_i = 0. Random sampling gives the same on average."""

    kind: Literal["natural"] = field(default="natural", kw_only=True)
    questions: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Naive:
    """Every stage is fully balanced: w_i = 1. The paper's BalDistill-N."""

    kind: Literal["naive"] = field(default="naive", kw_only=True)
    questions: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Adaptive:
    """From nearly natural to fully balanced: w_i = i / K. The paper's BalDistill-A."""

    kind: Literal["adaptive"] = field(default="adaptive", kw_only=True)
    questions: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Any balance weights w_i in [0, 1]: a list, or a curve from the first stage to the last."""

    kind: Literal["schedule"] = field(default="schedule", kw_only=True)
    questions: ClassVar[int] = 0
    weights: tuple[float, ...] | None = None
    """w of each stage, each in [0, 1]. If it is given, the other options are not used."""
    w_first: float = 0.0
    """w of the first stage, in [0, 1]. 0 follows the corpus."""
    w_last: float = 1.0
    """w of the last stage, in [0, 1]. A run of one stage uses it. 1 is fully balanced."""
    power: float = 1.0
    """Shape of the curve, above 0 and at most 10:
    w_i = w_first + (w_last - w_first) ((i - 1) / (K - 1))^power. 1 is linear; more stays near
    w_first for longer."""

    def __post_init__(self) -> None:
        """Raise ValueError on weights outside [0, 1] or a power outside (0, 10]."""
        if self.weights is not None:
            _check_shares("weights", self.weights)
        _check_shares("w_first", self.w_first)
        _check_shares("w_last", self.w_last)
        if not 0 < self.power <= 10:
            raise ValueError(f"power must be above 0 and at most 10, not {self.power}")


@dataclass(frozen=True, slots=True)
class Split:
    """Head/tail split: s_i B_i shared equally by the tail domains, the rest by the head."""

    kind: Literal["split"] = field(default="split", kw_only=True)
    questions: ClassVar[int] = 0
    tail_shares: tuple[float, ...] = (0.5,)
    """s of each stage, each in [0, 1], or one number for all stages. The tail shares it equally;
    the head shares the rest as in the corpus."""
    head_mass: float = 0.8
    """The head is the smallest set of largest domains that hold this share of the corpus, above 0
    and below 1. If the head is the whole corpus, it gets the tail's share too."""

    def __post_init__(self) -> None:
        """Raise ValueError on shares outside [0, 1] or an empty head."""
        _check_shares("tail_shares", self.tail_shares)
        if not 0 < self.head_mass < 1:
            raise ValueError(f"head_mass must be above 0 and below 1, not {self.head_mass}")


@dataclass(frozen=True, slots=True)
class Errors:
    """More for domains whose real examples the current student gets wrong; not in the paper.

    `gain` has the same input, looks also at what a domain has had so far, and has a stated aim.

    Before each stage but the first, the student answers real examples of the corpus, whose gold
    answers are known. This needs no teacher call and no evaluation example. `MeasuredErrors` is
    this policy with the counts; without counts it shares as `Adaptive` does.
    """

    kind: Literal["errors"] = field(default="errors", kw_only=True)
    floor: float = 0.5
    """Part of the stage's budget, in [0, 1], that all domains share equally. The rest follows the
    errors."""
    questions: int = 40
    """Real examples of each domain that the student answers before a stage, from 1 to 10,000.
    More measure the errors better and take longer."""

    def __post_init__(self) -> None:
        """Raise ValueError on a floor outside [0, 1] or questions outside 1 to 10,000."""
        _check_shares("floor", self.floor)
        if not 1 <= self.questions <= 10_000:
            raise ValueError(f"questions must be between 1 and 10,000, not {self.questions}")


class Asked(NamedTuple):
    """Counts of questions of one domain: those that a model was asked, those it got wrong."""

    asked: int
    wrong: int


@dataclass(frozen=True, slots=True)
class MeasuredErrors:
    """The `Errors` policy with the student's answers.

    quota_d = B_i [ f / l + (1 - f) e_d / sum(e) ], with e_d = (wrong + 1) / (asked + 2) the
    current student's error in the domain. Laplace's rule keeps e_d above 0 and below 1,
    however few questions were asked.

    Attributes:
        floor: f, in [0, 1].
        answers: By domain, how many of its real examples were asked and answered wrong. A domain
            without an entry counts as not asked (e = 1/2).
    """

    floor: float
    answers: Mapping[str, Asked]

    def __post_init__(self) -> None:
        """Raise ValueError on a floor outside [0, 1]."""
        _check_shares("floor", self.floor)


Aim: TypeAlias = Literal["macro", "natural", "entropy", "dodrans", "worst"]


@dataclass(frozen=True, slots=True)
class Gain:
    """Units go where they lower the expected error most; not in the paper.

    The error of a domain is taken to fall as (T + n0)^(-exponent), T being the examples of it that
    the student was trained on. A stage's units q minimise the sum over domains of
    v e ((T + n0) / (T + n0 + q))^exponent, with the error e of the current student as `errors`
    measures it, and weights v by the objective. Where the student was not asked (in stage 1, and in
    what `baldistill plan` shows), e is taken to be 1/2 (n0 / (T + n0))^exponent: the budget then
    fills up, like water, the domains that have had least for their weight. With
    `student.data: stage` and `init: base` nothing of earlier stages is kept, so T is 0.
    """

    kind: Literal["gain"] = field(default="gain", kw_only=True)
    objective: float | Aim = 0.5
    """Error to minimise: a number m in [0, 1] weighs a domain by (1 - m) n_d / N + m / l, so that
    `natural` is 0 and `macro` is 1. `entropy` weighs by -n_d log(n_d / N), `dodrans` by n_d^(3/4).
    `worst`: the largest expected error of all domains, whatever their size; a domain that cannot be
    learnt then takes all but the floor."""
    floor: float = 0.1
    """Part of the stage's budget, in [0, 1], that all domains share equally before the rest goes
    where it helps most."""
    exponent: float = 0.5
    """Speed at which errors fall: above 0, at most 4. Greater ones spread the budget more
    evenly."""
    n0: float = 10.0
    """Examples that a domain is taken to have had before the first, above 0: what the base student
    knows, and what other domains teach."""
    questions: int = 40
    """Real examples of each domain that the student answers before a stage, from 1 to 10,000:
    those that it was not trained on, where there are any."""
    beyond_teacher: bool = False
    """Subtract the teacher's own error in the domain: the share of real examples on which it was
    given up after the last attempt. What the teacher cannot do is then not chased. A teacher that
    was shown the gold answer (`rationale.sees: answer`, the default) errs less than by itself:
    `rationale: {sees: question, accept: gold}` measures its own error."""

    def __post_init__(self) -> None:
        """Raise ValueError on options outside their bounds."""
        if isinstance(self.objective, int | float):
            _check_shares("objective", self.objective)
        _check_shares("floor", self.floor)
        if not 0 < self.exponent <= 4:
            raise ValueError(f"exponent must be above 0 and at most 4, not {self.exponent}")
        if not 0 < self.n0 < float("inf"):
            raise ValueError(f"n0 must be a number above 0, not {self.n0}")
        if not 1 <= self.questions <= 10_000:
            raise ValueError(f"questions must be between 1 and 10,000, not {self.questions}")


@dataclass(frozen=True, slots=True)
class MeasuredGain:
    """The `Gain` policy with what is known before a stage.

    e_d = (wrong + 1) / (asked + 2) by Laplace's rule, less the same of the teacher where that is
    given, but never below 1 / (asked + 2). Where none was asked, e_d is as `Gain` says.

    Attributes:
        rule: The options.
        answers: By domain, how many of its real examples the student was asked and got wrong. A
            domain without an entry counts as not asked (e = 1/2).
        trained: T_d, the units of each domain that the student will have been trained on besides
            those of this stage.
        teacher: By domain, the real examples that the teacher explained, and those on which it was
            given up after the last attempt.
    """

    rule: Gain
    answers: Mapping[str, Asked] = field(default_factory=dict)
    trained: Mapping[str, int] = field(default_factory=dict)
    teacher: Mapping[str, Asked] = field(default_factory=dict)

    def error(self, domain: str) -> float:
        """Return e_d."""
        asked, wrong = self.answers.get(domain, Asked(0, 0))
        if not asked:
            n0, trained = self.rule.n0, self.trained.get(domain, 0)
            return float(0.5 * (n0 / (n0 + trained)) ** self.rule.exponent)
        error = (wrong + 1) / (asked + 2)
        if domain in self.teacher:
            asked_teacher, wrong_teacher = self.teacher[domain]
            error -= (wrong_teacher + 1) / (asked_teacher + 2)
        return max(error, 1 / (asked + 2))


_Ours: TypeAlias = (
    Natural | Naive | Adaptive | Schedule | Split | Errors | MeasuredErrors | Gain | MeasuredGain
)
Policy: TypeAlias = _Ours | OwnPolicy | MeasuredOwn


def _check_shares(name: str, value: float | tuple[float, ...]) -> None:
    shares = value if isinstance(value, tuple) else (value,)
    if shares and all(0 <= share <= 1 for share in shares):
        return
    if isinstance(value, tuple):
        raise ValueError(f"{name} must be numbers between 0 and 1, not {list(value)}")
    raise ValueError(f"{name} must be between 0 and 1, not {value}")
