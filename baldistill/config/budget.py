"""The part of the config that says what is annotated: budget, selection, tail, rationales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from baldistill.config.own import FilterConfig, ScoreConfig
from baldistill.config.sections import (
    OWN_PART,
    Count,
    Section,
    Share,
    engine_shorthand,
    kind_shorthand,
    switch,
    use_as_section,
)
from baldistill.config.teachers import TierConfig
from baldistill.core.diversity import Diversity
from baldistill.core.majority import DEFAULT_VOTES
from baldistill.core.own_parts import POLICIES, is_own
from baldistill.core.own_policy import OwnPolicy
from baldistill.core.own_score import OwnScore
from baldistill.core.policies import Adaptive, Errors, Gain, Naive, Natural, Schedule, Split

_POLICIES = ("natural", "naive", "adaptive", "schedule", "split", "errors", "gain")
use_as_section(Natural, Naive, Adaptive, Schedule, Split, Errors, Gain, OwnPolicy)


def _kind_of(value: Any) -> str | None:
    """Return the tag of a policy; all of users have the same."""
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    if not isinstance(kind, str):
        return None
    known = {*_POLICIES, OWN_PART}
    return OWN_PART if kind not in known and is_own(kind, POLICIES) else kind


PolicyConfig: TypeAlias = Annotated[
    Annotated[Natural, Tag("natural")]
    | Annotated[Naive, Tag("naive")]
    | Annotated[Adaptive, Tag("adaptive")]
    | Annotated[Schedule, Tag("schedule")]
    | Annotated[Split, Tag("split")]
    | Annotated[Errors, Tag("errors")]
    | Annotated[Gain, Tag("gain")]
    | Annotated[OwnPolicy, Tag(OWN_PART)],
    Discriminator(_kind_of),
    BeforeValidator(kind_shorthand),
]
"""A policy of `core.policies`, which checks its options by itself."""


class BudgetConfig(Section):
    """Limits on what may be spent, and the policy that shares the budget among the domains."""

    total: Annotated[int, Field(ge=0)] = 1200
    """B: annotated examples over all stages. 0 evaluates the base student (zero-shot)."""
    policy: PolicyConfig = Adaptive()
    """natural | naive | adaptive | schedule | split | errors | gain, or one of your own as
    `{kind: "package.module:Name", options: {...}}`."""
    calls: Count | None = None
    """Cap on teacher calls, failed attempts included; by default only B limits them."""
    tokens: Count | None = None
    """Cap on the teacher's tokens, read and written together."""
    cost: Annotated[float, Field(gt=0.0)] | None = None
    """Cap on money, in the currency of `teacher.prices`."""


class SelectionConfig(Section):
    """Rules that choose which real examples of the head domains are annotated."""

    added: ClassVar[frozenset[str]] = frozenset(
        {"samples", "text", "by", "ceiling", "diversity", "diversity_pool"}
    )

    metric: ScoreConfig = "ifd"
    """Highest first: Instruction-Following Difficulty of a response, a ratio of perplexities; the
    ratio of its mean losses instead; its conditional perplexity; wrong responses before right ones,
    each by IFD; how much `samples` responses disagree; or a seeded hash: ifd | loss_ratio |
    perplexity | wrong | disagreement | random. Or one of your own, as `package.module:Name`."""
    text: Literal["own", "gold"] = "own"
    """The response that is scored: the student's own, or the gold answer."""
    by: str = "student"
    """Model whose scores count: the current student, or another model (hub id or path), which is
    asked with the student's prompts: a small one may choose for a large one."""
    ceiling: Annotated[float, Field(gt=0.0)] | None = None
    """Candidates whose IFD (or ratio of losses) is above rank last. Above 1 the question makes the
    response less likely: Cherry and Superfiltering drop such rows as misaligned."""
    samples: Annotated[int, Field(ge=2, le=32)] = 5
    """For `disagreement`: the student's responses to each candidate, at temperature 0.7 or more."""
    diversity: Diversity = "none"
    """Method that thins the best candidates of a domain to its quota, so that they differ: k-means,
    greedy k-center, BADGE, contrast with what was annotated (CAL), or surprisal (ALPS). All but
    `alps` read hidden states, which vLLM does not give. In stage 1 as `first_stage` says."""
    diversity_pool: Annotated[float, Field(ge=1.0)] = 2.0
    """Most candidates that are thinned, for each example to select: those of the highest scores."""
    first_stage: Literal["random", "metric"] = "random"
    """Stage 1 has no fine-tuned student: random (the paper), or the metric by the base student."""
    candidates_per_quota: Annotated[float, Field(ge=1.0)] | None = 3.0
    """Most candidates that are scored for each example to select, as a deterministic hash sample.
    If they do not fill the quota, further ones are drawn without a score. null scores the whole
    pool and holds it in the driver's memory: for corpora of at most a million rows."""

    @model_validator(mode="after")
    def _scores_exist(self) -> SelectionConfig:
        if self.text == "gold" and self.metric in ("wrong", "disagreement"):
            raise ValueError(
                f"metric={self.metric} is about the student's responses, and text=gold scores the "
                "gold answer: set selection.text=own, or the metric to ifd"
            )
        if self.ceiling is not None and self.metric == "disagreement":
            raise ValueError(
                "ceiling is one of IFD, and metric=disagreement has none: leave selection.ceiling "
                "out"
            )
        drawn = self.candidates_per_quota
        if self.diversity != "none" and drawn is not None and drawn < self.diversity_pool:
            raise ValueError(
                f"diversity_pool={self.diversity_pool:g} candidates for each example are more than "
                f"are drawn: set selection.candidates_per_quota={self.diversity_pool:g} or higher"
            )
        return self

    @property
    def metric_name(self) -> str:
        """Return the name of the score."""
        return self.metric.kind if isinstance(self.metric, OwnScore) else self.metric

    @property
    def reads_states(self) -> bool:
        """Return whether the selection needs the hidden states of the model that scores."""
        return self.diversity not in ("none", "alps")


TailFill: TypeAlias = Literal["rationales", "synthesize", "repeat", "none"]
"""A way to fill a tail domain whose real examples ran out."""


class WindowConfig(Section):
    """Bounds on how hard a new example may be for the current student."""

    low: Share = 0.125
    """Fewest of the student's answers that are right, as a share: below, the example is too hard,
    or the teacher's answer is wrong."""
    high: Share = 0.875
    """Most of them: above, the student has nothing to learn from the example."""
    samples: Annotated[int, Field(ge=1, le=64)] = 8
    """The student's answers to each new question, at temperature 0.7 or more."""

    @model_validator(mode="after")
    def _holds_a_share(self) -> WindowConfig:
        if not any(self.low <= n / self.samples <= self.high for n in range(self.samples + 1)):
            raise ValueError(
                f"no number of {self.samples} answers is a share from low={self.low:g} to "
                f"high={self.high:g}, so every new example would be rejected: widen the window, or "
                "raise samples"
            )
        return self


class TailConfig(Section):
    """Options for tail domains whose real examples run out before their quota is met."""

    added: ClassVar[frozenset[str]] = frozenset({"seeds", "verifier", "window", "filter"})

    fill: TailFill | tuple[TailFill, ...] = "synthesize"
    """The teacher explains real examples again, each further rationale a unit of the budget; or it
    writes new examples; or real ones are repeated; or the quota stays unmet. A list is tried in
    order: what the first cannot fill, the next does."""
    demonstrations: Annotated[int, Field(ge=1, le=32)] = 3
    """Real examples of the domain shown in the prompt."""
    seeds: Literal["random", "wrong"] = "random"
    """Choice of the demonstrations: a seeded sample of the domain, or of what the current student
    gets wrong in it (LLM2LLM). Random ones fill up where it gets fewer wrong, and are all in the
    first stage."""
    max_attempts_per_example: Annotated[float, Field(ge=1.0)] = 4.0
    """Most calls for each new example or further rationale that a domain needs. A domain that still
    lacks examples then is dry, and the other domains get what it could not fill."""
    near_duplicate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """A new question at least this similar (normalised Indel similarity of RapidFuzz) to a known
    one of its domain, or of the evaluation set, is rejected; 1 rejects equal ones only."""
    votes: Annotated[int, Field(ge=0, le=15)] = 0
    """Number of times that the teacher solves its own new question again without seeing its answer,
    a call each: the first with the sampling of rationales, the others at temperature 0.7. The
    example is rejected unless more than half of the votes reach its answer. 0 accepts it
    unverified."""
    window: Annotated[WindowConfig | None, BeforeValidator(switch)] = None
    """Keeps new examples that the current student solves sometimes, from stage 2 on, and rejects
    the others before any vote; `true` by the defaults. All are kept by default."""
    filter: FilterConfig = None
    """A filter of your own, as `package.module:Name`: it rejects new examples that are otherwise
    good, before anything is asked about them. The same class may be a `rationale.filter`."""
    verifier: Annotated[
        Annotated[TierConfig, Field(discriminator="kind")] | None,
        BeforeValidator(lambda value: None if value is None else engine_shorthand(value)),
    ] = None
    """Another model that casts these votes, with the options of a teacher and its own prices; by
    default whoever wrote the example. The caps of `budget` hold for all models together."""

    @model_validator(mode="after")
    def _verifier_can_vote(self) -> TailConfig:
        if self.verifier is not None and self.verifier.recorded:
            raise ValueError(
                "verifier solves new questions, and a recording (kind: replay) knows none: name a "
                "model"
            )
        if self.verifier is not None and not self.votes:
            raise ValueError("verifier casts votes, and votes=0 asks for none: set tail.votes=1")
        return self

    @field_validator("fill")
    @classmethod
    def _in_order(cls, fill: TailFill | tuple[TailFill, ...]) -> TailFill | tuple[TailFill, ...]:
        if isinstance(fill, str):
            return fill
        if not fill or len(set(fill)) < len(fill) or "none" in fill[:-1]:
            raise ValueError(
                "a list names different fills in order, and `none` comes last: for example "
                "[rationales, synthesize]"
            )
        return fill if len(fill) > 1 else fill[0]

    @property
    def fills(self) -> tuple[TailFill, ...]:
        """Return the ways to fill a domain's quota, in the order in which they are tried."""
        return (self.fill,) if isinstance(self.fill, str) else self.fill


class RationaleConfig(Section):
    """The teacher's explanations of real examples: what it sees, and what counts as good."""

    added: ClassVar[frozenset[str]] = frozenset(
        {"sees", "accept", "votes", "per_example", "keep", "filter"}
    )

    sees: Literal["answer", "question"] = "answer"
    """The teacher explains the gold answer, or solves the question without seeing it."""
    accept: Literal["gold", "majority", "judge", "any"] = "gold"
    """A conclusion that equals the gold answer (of the task `judged`: that the judge accepts
    beside it); or the one that most of several answers to the same question reach; or one that the
    judge accepts by the rubric alone; or any. The last three need no gold answer: theirs is what is
    taught."""
    votes: Annotated[int, Field(ge=2, le=15)] = DEFAULT_VOTES
    """For `accept: majority`: the most answers to one question, a call each: the first with the
    sampling of rationales, the others at temperature 0.7. More than half of `votes` must agree.
    An answer that can no longer change the outcome is not asked for."""
    keep: Literal["answer", "thoughts"] = "answer"
    """Text that is taught where the teacher thinks aloud: the steps of its answer, or its thoughts,
    which stand in `<think>` or in its server's `reasoning_content`. Thoughts that were cut off are
    rejected."""
    max_attempts: Annotated[int, Field(ge=1, le=20)] = 2
    """Most calls for one example until an answer is accepted (for `majority`, `votes` says it)."""
    per_example: Annotated[int, Field(ge=1, le=64)] = 1
    """Different rationales of each real example, at most: each is a unit of the budget, and the
    others are sampled at temperature 0.7 or more."""
    on_mismatch: Literal["drop", "keep", "label_only"] = "drop"
    """After the last attempt: drop the row (its place is refilled), keep the rationale with the
    gold answer, or teach the gold answer alone."""
    filter: FilterConfig = None
    """A filter of your own, as `package.module:Name`: an answer that is otherwise good, and that it
    rejects, counts as one that is not accepted. It does not read evaluation examples."""

    @model_validator(mode="after")
    def _can_be_combined(self) -> RationaleConfig:
        if self.keep == "thoughts" and self.sees == "answer":
            raise ValueError(
                "keep=thoughts would teach thoughts about the gold answer that the teacher was "
                "shown: set rationale.sees=question"
            )
        if self.filter is not None and self.on_mismatch == "keep":
            raise ValueError(
                "on_mismatch=keep would teach what your filter rejects: set "
                "rationale.on_mismatch=drop, or label_only"
            )
        if self.accept == "gold":
            return self
        if self.sees == "answer":
            raise ValueError(
                f"accept={self.accept} would accept what the teacher was shown, for it sees the "
                "gold answer: set rationale.sees=question. (Unchecked rationales of it are "
                "accept=gold with on_mismatch=keep and max_attempts=1)"
            )
        if self.on_mismatch != "drop":
            raise ValueError(
                f"on_mismatch={self.on_mismatch} teaches the gold answer, and "
                f"accept={self.accept} uses none: set rationale.on_mismatch=drop"
            )
        return self
