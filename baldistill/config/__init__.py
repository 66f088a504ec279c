"""The config: every option with its type, bounds, default and meaning.

A config is a YAML file, overridden on the command line by dotted keys
(`budget.total=2000 stages=5`). `config/loading.py` reads it, and suggests the nearest key for an
unknown one. Nothing here imports ray or torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from baldistill.config.budget import BudgetConfig, RationaleConfig, SelectionConfig, TailConfig
from baldistill.config.data import (
    Columns,
    DataConfig,
    DecontaminateConfig,
    NearDuplicatesConfig,
)
from baldistill.config.domains import DomainsConfig
from baldistill.config.judge import JudgeConfig
from baldistill.config.placement import ClusterConfig
from baldistill.config.sections import Section
from baldistill.config.student import EvaluationConfig, LoraConfig, StudentConfig
from baldistill.config.teachers import TeacherConfig, TierConfig, TransformersTeacher
from baldistill.core.answers import AnyTask, Task
from baldistill.core.own_filter import OwnFilter
from baldistill.core.policies import Schedule, Split
from baldistill.uris import holds_secret, masked

__all__ = [
    "BudgetConfig",
    "Columns",
    "Config",
    "DataConfig",
    "DecontaminateConfig",
    "DomainsConfig",
    "JudgeConfig",
    "LoraConfig",
    "NearDuplicatesConfig",
    "StudentConfig",
    "Task",
]


class Config(Section):
    """A distillation run. The defaults are the built-in quickstart's data and models."""

    added: ClassVar[frozenset[str]] = frozenset({"judge"})

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "run"
    """The default run folder is named after it."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The same config, seed and engine give the same quotas, selected ids and prompts."""
    stages: Annotated[int, Field(ge=1, le=1000)] = 4
    """K: rounds of annotating a share of the budget and fine-tuning the student on it."""
    data: DataConfig = DataConfig()
    budget: BudgetConfig = BudgetConfig()
    selection: SelectionConfig = SelectionConfig()
    tail: TailConfig = TailConfig()
    rationale: RationaleConfig = RationaleConfig()
    teacher: TeacherConfig = TransformersTeacher()
    judge: JudgeConfig | None = None
    """The judge of whether texts are good, for `data.task: judged` and `rationale.accept:
    judge`."""
    student: StudentConfig = StudentConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _no_secrets(self) -> Config:
        """Refuse secrets, since `config.yaml` of the run folder holds these texts."""
        for key, text in _texts(self.model_dump(mode="json")):
            if holds_secret(text):
                raise ValueError(
                    f"{key} has credentials in it: {masked(text)}. Take them out and set them in "
                    "the environment"
                )
        return self

    @model_validator(mode="after")
    def _lists_fit_the_stages(self) -> Config:
        policy = self.budget.policy
        lists: dict[str, Sequence[float] | None] = {}
        if isinstance(policy, Schedule):
            lists["budget.policy.weights"] = policy.weights
        if isinstance(policy, Split) and len(policy.tail_shares) != 1:
            lists["budget.policy.tail_shares"] = policy.tail_shares
        for key, values in lists.items():
            if values is not None and len(values) != self.stages:
                raise ValueError(
                    f"{key} has {len(values)} entries for {self.stages} stages: "
                    f"give {self.stages}, or set stages={len(values)}"
                )
        return self

    @model_validator(mode="after")
    def _engine_shows_states(self) -> Config:
        if self.selection.reads_states and self.student.engine.kind == "vllm":
            raise ValueError(
                f"selection.diversity={self.selection.diversity} reads the student's hidden "
                "states, which vLLM does not give: set student.engine=transformers (or leave it "
                "out), or selection.diversity=alps"
            )
        return self

    @model_validator(mode="after")
    def _rationales_are_learnt(self) -> Config:
        if self.student.target == "label":
            if self.rationale.keep == "thoughts":
                raise ValueError(
                    "rationale.keep=thoughts is about rationales, and student.target=label learns "
                    "none: set student.target=rationale, or leave it out"
                )
            for key, given in (
                ("tail.fill=rationales", "rationales" in self.tail.fills),
                ("rationale.per_example", self.rationale.per_example > 1),
            ):
                if given:
                    raise ValueError(
                        f"{key} gives an example several rationales, and student.target=label "
                        "learns none: set student.target=rationale, or leave it out"
                    )
        return self

    @model_validator(mode="after")
    def _money_needs_prices(self) -> Config:
        prices = [model.prices for model in self.models_asked]
        priced = any(p.prompt_per_million or p.completion_per_million for p in prices)
        if self.budget.cost is not None and not priced:
            raise ValueError(
                f"budget.cost={self.budget.cost:g} caps money, and no teacher has a price: set "
                "teacher.prices.prompt_per_million and completion_per_million, or remove the cap"
            )
        return self

    @model_validator(mode="after")
    def _somebody_names_domains(self) -> Config:
        if self.data.domains is None or self.data.domains.names is None:
            return self
        first = self.teacher.tiers[0]
        if first.recorded or first.model == "bundled":
            whose = "a recording" if first.recorded else "the bundled teacher"
            raise ValueError(
                "data.domains.names asks the teacher which domain a question is of, and "
                f"{whose} cannot say: set teacher to a model that follows instructions, such as "
                "teacher={kind: openai, model: ...}, or data.domains={clusters: auto}"
            )
        return self

    @model_validator(mode="after")
    def _teacher_is_marked_on_gold(self) -> Config:
        if self.evaluation.teacher and self.evaluation.gold == "teacher":
            raise ValueError(
                "evaluation.teacher=true with evaluation.gold=teacher would mark the teacher "
                "against itself: give gold answers (evaluation.gold=corpus), or leave one out"
            )
        return self

    @model_validator(mode="after")
    def _answers_where_they_are_needed(self) -> Config:
        if self.evaluation.gold == "teacher" and self.data.evaluates_on_gold:
            raise ValueError(
                "evaluation.gold=teacher is for an evaluation set without gold answers, and "
                "data.columns names a column of them: set evaluation.gold=corpus"
            )
        if self.data.columns.answer is not None:
            return self
        without = "data.columns.answer=null says that no training row has a gold answer"
        if self.rationale.accept == "gold":
            raise ValueError(
                f"{without}, and rationale.accept=gold compares with it: set "
                "rationale.sees=question and rationale.accept=majority (or any)"
            )
        if self.selection.metric == "wrong":
            raise ValueError(
                f"{without}, and selection.metric=wrong marks the student's answers to them: set "
                "selection.metric=disagreement, or another"
            )
        if self.selection.text == "gold" and self.selection.metric != "random":
            raise ValueError(
                f"{without}, and selection.text=gold scores it: set selection.text=own"
            )
        if self.tail.seeds == "wrong":
            raise ValueError(
                f"{without}, and tail.seeds=wrong marks the student's answers to them: set "
                "tail.seeds=random"
            )
        if self.budget.policy.questions:
            raise ValueError(
                f"{without}, and budget.policy={self.budget.policy.kind} marks the student's "
                "answers to training rows: set budget.policy=adaptive, or another"
            )
        needs_gold = self.evaluation.gold == "corpus" and set(self.tasks) != {"judged"}
        if not self.data.evaluates_on_gold and needs_gold:
            raise ValueError(
                f"{without}, and the evaluation set needs them: name files with gold answers in "
                "data.evaluation, and their column in data.columns.evaluation_answer. Or set "
                "evaluation.gold=teacher, to measure how often the student agrees with its teacher"
            )
        return self

    @model_validator(mode="after")
    def _texts_have_a_judge(self) -> Config:
        judges = "judged" in self.tasks
        if self.judge is None and (judges or self.rationale.accept == "judge"):
            key = "data.task=judged" if judges else "rationale.accept=judge"
            raise ValueError(
                f"{key} lets a judge decide, and there is none: set judge={{teacher: {{kind: "
                "openai, model: ...}, rubric: rubric.md}"
            )
        if self.judge is None:
            return self
        if not judges and self.rationale.accept != "judge":
            raise ValueError(
                "judge decides nothing here: set data.task=judged (or data.domain_tasks, or "
                "rationale.accept=judge), or leave judge out"
            )
        return self

    @model_validator(mode="after")
    def _texts_are_not_compared(self) -> Config:
        """Refuse what would compare texts, or mark so many that a judge would cost too much."""
        if "judged" not in self.tasks:
            return self
        policy = self.budget.policy
        refused = (
            (self.rationale.accept == "majority", "rationale.accept=majority", "judge"),
            (self.evaluation.gold == "teacher", "evaluation.gold=teacher", "corpus"),
            (self.selection.metric in ("wrong", "disagreement"),
             f"selection.metric={self.selection.metric}", "ifd"),
            (self.tail.seeds == "wrong", "tail.seeds=wrong", "random"),
            (self.tail.window is not None, "tail.window=true", "false"),
            (policy.questions > 0, f"budget.policy={policy.kind}", "adaptive"),
        )  # fmt: skip
        for given, option, instead in refused:
            if given:
                raise ValueError(
                    f"{option} compares answers, and those of data.task=judged are texts that a "
                    f"judge reads, a call each: set {option.partition('=')[0]}={instead}"
                )
        return self

    def is_judged(self, domain: str, *, real: bool = False) -> bool:
        """Return whether a judge decides about answers of a domain.

        About those of `real` examples the judge decides by `rationale.accept: judge`, too.
        """
        accept = self.rationale.accept
        if real and accept != "gold":
            return accept == "judge"
        return self.task_of(domain) == "judged"

    @property
    def models_asked(self) -> tuple[TierConfig, ...]:
        """Return every model whose calls the ledger counts: teachers, then verifier, then judge.

        The ledger counts them from 1, in this order.
        """
        verifier = self.tail.verifier
        judge = None if self.judge is None else self.judge.teacher
        return (*self.teacher.tiers, *(model for model in (verifier, judge) if model is not None))

    @property
    def teacher_explains(self) -> bool:
        """Return whether a teacher is asked for rationales or answers of real examples."""
        return self.student.target != "label" or self.rationale.accept != "gold"

    @property
    def tasks(self) -> tuple[AnyTask, ...]:
        """Return all task types that a domain may have."""
        return (self.data.task, *self.data.domain_tasks.values())

    @property
    def own_filters(self) -> dict[str, OwnFilter]:
        """Return the filters of the user's own, by their keys."""
        filters = {"rationale.filter": self.rationale.filter, "tail.filter": self.tail.filter}
        return {key: own_filter for key, own_filter in filters.items() if own_filter is not None}

    @property
    def asks_about_evaluation(self) -> bool:
        """Return whether the teacher answers the evaluation set."""
        return self.evaluation.gold == "teacher" or self.evaluation.teacher

    def task_of(self, domain: str) -> AnyTask:
        """Return the task type of a domain: `data.domain_tasks`, else `data.task`."""
        return self.data.domain_tasks.get(domain, self.data.task)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in a config, each with its dotted key."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, key)
    elif isinstance(value, str):
        yield key, value
