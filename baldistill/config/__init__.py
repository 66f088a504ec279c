"""The config: every option with its type, bounds, default and meaning.

A config is a YAML file, overridden on the command line by dotted keys
(`budget.total=2000 stages=5`). Unknown keys are errors that suggest the nearest key: see
`config/loading.py`. This module imports neither ray nor torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from baldistill.config.engines import (
    Count,
    EngineResources,
    SamplingConfig,
    Section,
    Share,
    StudentEngine,
    TransformersOptions,
    WorkerResources,
    kind_of,
)
from baldistill.config.teachers import TeacherConfig, TransformersTeacher
from baldistill.core import budget as policies
from baldistill.uris import holds_secret, masked

Task: TypeAlias = Literal["free_text", "multiple_choice", "classification", "math", "qa"]


class Columns(Section):
    """Which column of the user's files holds what."""

    question: str = "question"
    """The text that the student is asked."""
    answer: str = "answer"
    """The gold answer."""
    domain: str = "domain"
    """The class, topic or task type to balance over."""
    choices: str | None = None
    """A list column of answer choices, shown to the models as lettered lines."""
    id: str | None = None
    """A unique id; by default a hash of domain and question."""
    split: str | None = None
    """A column that says `train` or else `test`, `eval`, `validation`, `dev`: such rows of
    `data.train` are the evaluation set."""


class DataConfig(Section):
    """The corpus and the evaluation set."""

    train: str | tuple[str, ...] = "bundled"
    """File, folder, glob or URI (s3://, gs://, hdfs://), or a list of them; `bundled` is the
    corpus of small reasoning domains inside the package."""
    evaluation: str | tuple[str, ...] | None = None
    """The same for the evaluation set; by default a seeded split of every domain."""
    format: Literal["auto", "jsonl", "parquet", "csv"] = "auto"
    """`auto` goes by the file's ending."""
    columns: Columns = Columns()
    """Column mapping."""
    task: Task = "free_text"
    """How answers are extracted and compared."""
    domain_tasks: dict[str, Task] = Field(default_factory=dict)
    """The same for single domains of the corpus, where they differ."""
    evaluation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of each domain that the seeded split sets aside."""
    evaluation_max_per_domain: Count = 200
    """At most so many evaluation examples of a domain."""
    max_question_chars: Count = 20_000
    """A longer question is quarantined as over-long."""
    max_answer_chars: Count = 4_000
    """A longer answer is quarantined as over-long."""
    max_bad_fraction: Share = 0.05
    """Over this share of rows that cannot be used the run stops with examples of them. Duplicates,
    and rows that stand in the evaluation set, are quarantined too but do not count."""
    bundled_rows: Annotated[int, Field(ge=100)] = 4000
    """Training rows of the bundled corpus."""
    bundled_alpha: Annotated[float, Field(ge=0.0, le=4.0)] = 2.0
    """Zipf exponent of the bundled corpus: the domain of rank k has about 1/k^alpha of rank 1."""
    bundled_evaluation_per_domain: Count = 60
    """Evaluation questions of each domain of the bundled corpus."""

    @field_validator("train", "evaluation")
    @classmethod
    def _no_credentials(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        """`config.yaml` of the run folder holds these texts."""
        for uri in (value,) if isinstance(value, str) else value or ():
            if holds_secret(uri):
                raise ValueError(
                    f"{masked(uri)} has credentials in it: take them out and set them in the "
                    "environment"
                )
        return value


class NaturalPolicy(Section):
    """B_i n_d / N: what random sampling gives."""

    kind: Literal["natural"] = "natural"

    def policy(self) -> policies.Policy:
        """The pure policy that `core.budget` evaluates."""
        return policies.Natural()


class NaivePolicy(Section):
    """B_i / l: every domain the same (BalDistill-N)."""

    kind: Literal["naive"] = "naive"

    def policy(self) -> policies.Policy:
        """The pure policy that `core.budget` evaluates."""
        return policies.Naive()


class AdaptivePolicy(Section):
    """From natural in the first stages to fully balanced in the last (BalDistill-A)."""

    kind: Literal["adaptive"] = "adaptive"

    def policy(self) -> policies.Policy:
        """The pure policy that `core.budget` evaluates."""
        return policies.Adaptive()


class SchedulePolicy(Section):
    """B_i [ (1 - w_i) n_d / N + w_i / l ] with any w: a list, or from w_first to w_last."""

    kind: Literal["schedule"] = "schedule"
    weights: tuple[Share, ...] | None = None
    """w of each stage; wins over w_first, w_last and power."""
    w_first: Share = 0.0
    """w of the first stage."""
    w_last: Share = 1.0
    """w of the last stage."""
    power: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    """w_i = w_first + (w_last - w_first) ((i - 1) / (K - 1))^power; 1 is linear."""

    def policy(self) -> policies.Policy:
        """The pure policy that `core.budget` evaluates."""
        return policies.Schedule(
            weights=self.weights, w_first=self.w_first, w_last=self.w_last, power=self.power
        )


class SplitPolicy(Section):
    """Head/tail split: s_i B_i shared by the tail domains, the rest by the head."""

    kind: Literal["split"] = "split"
    tail_shares: tuple[Share, ...] = (0.5,)
    """s of each stage, or one number for all stages."""
    head_mass: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """The head is the smallest set of largest domains that hold this share of the corpus."""

    def policy(self) -> policies.Policy:
        """The pure policy that `core.budget` evaluates."""
        return policies.Split(tail_shares=self.tail_shares, head_mass=self.head_mass)


class ErrorsPolicy(Section):
    """More for domains whose real examples the current student gets wrong; not in the paper.

    B_i [ floor / l + (1 - floor) e_d / sum(e) ]; the first stage is adaptive. The student answers
    real examples of the corpus, whose gold answers are known: no teacher call, and nothing of the
    evaluation set.
    """

    kind: Literal["errors"] = "errors"
    floor: Share = 0.5
    """The part of the budget that all domains share equally."""
    questions: Annotated[int, Field(ge=1, le=10_000)] = 40
    """Real examples of each domain that the student answers before a stage."""

    def policy(self) -> policies.Policy:
        """The pure policy that `core.budget` evaluates, before there are answers."""
        return policies.Errors(floor=self.floor)


PolicyConfig: TypeAlias = Annotated[
    NaturalPolicy | NaivePolicy | AdaptivePolicy | SchedulePolicy | SplitPolicy | ErrorsPolicy,
    Field(discriminator="kind"),
    BeforeValidator(kind_of),
]


class BudgetConfig(Section):
    """What may be spent, and how it is shared among the domains."""

    total: Annotated[int, Field(ge=0)] = 1200
    """B: annotated examples over all stages. 0 evaluates the base student (zero-shot)."""
    policy: PolicyConfig = AdaptivePolicy()
    """natural | naive | adaptive | schedule | split | errors."""
    calls: Count | None = None
    """Cap on teacher calls, failed attempts included; by default only B limits them."""
    tokens: Count | None = None
    """Cap on the teacher's tokens, read and written together."""
    cost: Annotated[float, Field(gt=0.0)] | None = None
    """Cap on money, in the currency of `teacher.prices`."""


class SelectionConfig(Section):
    """Which real examples the head domains annotate."""

    metric: Literal["ifd", "perplexity", "random"] = "ifd"
    """Highest first: Instruction-Following Difficulty of the student's own response, its
    conditional perplexity, or a seeded hash."""
    first_stage: Literal["random", "metric"] = "random"
    """Stage 1 has no fine-tuned student: random (the paper), or the metric by the base student."""
    candidates_per_quota: Annotated[float, Field(ge=1.0)] | None = 3.0
    """At most so many candidates are scored for each example to select, a deterministic hash
    sample; null scores the whole pool, and holds it in the driver's memory: for corpora of at most
    a million rows. Where they do not fill the quota, further ones are drawn, unscored."""


class TailConfig(Section):
    """How tail domains reach their quota when their real examples run out."""

    fill: Literal["synthesize", "repeat", "none"] = "synthesize"
    """The teacher writes new examples; or real ones are repeated; or the quota stays unmet."""
    demonstrations: Annotated[int, Field(ge=1, le=32)] = 3
    """Real examples of the domain shown in the prompt."""
    max_attempts_per_example: Annotated[float, Field(ge=1.0)] = 4.0
    """A domain whose new examples are still rejected after so many calls for each one wanted
    is dry; what it could not fill goes to the other domains."""
    near_duplicate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """A new question at least this similar (normalised Indel similarity of RapidFuzz) to a known
    one of its domain, or of the evaluation set, is rejected; 1 rejects equal ones only."""
    votes: Annotated[int, Field(ge=0, le=15)] = 0
    """How often the teacher solves its own question again without seeing its answer, a call each:
    once as it writes rationales, further times at temperature 0.7. The example is rejected unless
    more than half reach its answer; 0 takes it as it is."""


class RationaleConfig(Section):
    """The teacher's explanations of real examples."""

    max_attempts: Annotated[int, Field(ge=1, le=20)] = 2
    """Calls for one example until the teacher's conclusion equals the gold answer."""
    on_mismatch: Literal["drop", "keep", "label_only"] = "drop"
    """After the last attempt: drop the row (its place is refilled), keep the rationale with the
    gold answer, or teach the gold answer alone."""


class LoraConfig(Section):
    """Low-rank adapters through peft; they are merged into the checkpoint of each stage."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the update."""
    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Layers that get an adapter."""


class StudentConfig(Section):
    """The small model, and how it is fine-tuned after each stage."""

    model: str = "bundled"
    """Hub id or path of a Hugging Face causal language model."""
    prompts: str = "auto"
    """Prompt set, as for the teacher: the student is asked by its `student` template."""
    target: Literal["rationale", "label"] = "rationale"
    """`rationale`: `{rationale}\\nAnswer: {answer}`; `label`: the answer alone, and no teacher
    call for a real example."""
    data: Literal["cumulative", "stage"] = "cumulative"
    """Each stage trains on all that was annotated so far, or on its own batch alone."""
    init: Literal["base", "previous"] = "base"
    """Each stage starts from the base student, or from the last stage's."""
    epochs: Annotated[float, Field(gt=0.0, le=1000.0)] = 3.0
    """Passes over the stage's training data."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-5
    """Peak of the schedule."""
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    """Share of the steps over which the rate rises."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """AdamW's."""
    batch_size: Count = 32
    """Examples of one optimiser step on one worker."""
    gradient_accumulation: Count = 1
    """Micro-batches to an optimiser step."""
    max_length: Annotated[int, Field(ge=16)] = 1024
    """Tokens of prompt and target; a longer prompt loses its beginning, a longer target its end."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on a GPU that has it, float32 on a CPU."""
    gradient_checkpointing: bool = False
    """Trade time for memory."""
    lora: LoraConfig | None = None
    """Adapters instead of full fine-tuning."""
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Ray Train workers; 0 trains in the driver; `auto`: one for each GPU, 0 without one."""
    worker_resources: WorkerResources = WorkerResources()
    """What each of them reserves, and on which nodes."""
    engine: StudentEngine = TransformersOptions()
    """What runs the student when it responds and is examined: transformers | vllm."""
    response: SamplingConfig = SamplingConfig()
    """Sampling for the student's responses, in selection and in evaluation."""
    resources: EngineResources = EngineResources()
    """The actor pool that responds and scores."""


class EvaluationConfig(Section):
    """When the student is examined."""

    every_stage: bool = True
    """After each stage; otherwise after the last one only."""
    base_student: bool = True
    """Also the base student, before the first stage (zero-shot)."""
    head_mass: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """`head` in the metrics is the smallest set of largest domains with this share."""


class NodeConfig(Section):
    """Equal nodes of a cluster."""

    count: Count = 1
    """How many there can be."""
    resources: dict[str, Annotated[float, Field(ge=0.0)]]
    """What each has, as Ray names it: `CPU`, `GPU`, `accelerator_type:A100`, custom resources."""


class ClusterConfig(Section):
    """The cluster that the run attaches to; a machine without one needs nothing here."""

    nodes: tuple[NodeConfig, ...] = ()
    """What a cluster with an autoscaler can have, head included. Checks and `auto` then go by this
    instead of the nodes that are there now, and the run waits for the nodes that it asks for."""
    keep_warm: Literal["auto", "always", "never"] = "auto"
    """Whether teacher and student engines stay while the other works and while the student is
    trained. `auto`: if all fit side by side; `always`: or the run does not start; `never`."""


class Config(Section):
    """A distillation run. The defaults are the built-in quickstart's data and models."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "run"
    """Names the run folder."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """The same config, seed and engine give the same quotas, selected ids and prompts."""
    stages: Annotated[int, Field(ge=1, le=1000)] = 4
    """K."""
    data: DataConfig = DataConfig()
    budget: BudgetConfig = BudgetConfig()
    selection: SelectionConfig = SelectionConfig()
    tail: TailConfig = TailConfig()
    rationale: RationaleConfig = RationaleConfig()
    teacher: TeacherConfig = TransformersTeacher()
    student: StudentConfig = StudentConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _lists_fit_the_stages(self) -> Config:
        policy = self.budget.policy
        lists: dict[str, Sequence[float] | None] = {}
        if isinstance(policy, SchedulePolicy):
            lists["budget.policy.weights"] = policy.weights
        if isinstance(policy, SplitPolicy) and len(policy.tail_shares) != 1:
            lists["budget.policy.tail_shares"] = policy.tail_shares
        for key, values in lists.items():
            if values is not None and len(values) != self.stages:
                raise ValueError(
                    f"{key} has {len(values)} entries for {self.stages} stages: "
                    f"give {self.stages}, or set stages={len(values)}"
                )
        return self

    @model_validator(mode="after")
    def _money_needs_prices(self) -> Config:
        prices = [tier.prices for tier in self.teacher.tiers]
        priced = any(p.prompt_per_million or p.completion_per_million for p in prices)
        if self.budget.cost is not None and not priced:
            raise ValueError(
                f"budget.cost={self.budget.cost:g} caps money, and no teacher has a price: set "
                "teacher.prices.prompt_per_million and completion_per_million, or remove the cap"
            )
        return self

    def task_of(self, domain: str) -> Task:
        """The task type of a domain: `data.domain_tasks`, else `data.task`."""
        return self.data.domain_tasks.get(domain, self.data.task)
