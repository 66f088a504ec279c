"""The part of the config that says how the student is fine-tuned and evaluated."""

from __future__ import annotations

import operator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from baldistill.config.benchmarks import BenchmarkNames, LmEvalConfig
from baldistill.config.engines import AutoOptions, SamplingConfig, StudentEngine
from baldistill.config.placement import EngineResources, WorkerResources
from baldistill.config.sections import Count, OpenOptions, Section, Share, switch
from baldistill.config.trainer_options import check_optimizer, check_options
from baldistill.core.domain_weights import DomainWeights


class LoraConfig(Section):
    """Low-rank adapters through peft; they are merged into the student of each stage."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the update."""
    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    """Scale: the update is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Layers that get an adapter."""
    # not dumped by default, so that folders of versions without this option go on
    keep: Annotated[bool, Field(exclude_if=operator.not_)] = False
    """Also leave the adapter of each stage, in peft's format, in the folder `adapter` of its
    student."""


class CheckpointConfig(Section):
    """Copies of a training under way, from which it goes on when it was killed."""

    every_minutes: Annotated[float, Field(gt=0.0)] = 10.0
    """Minutes of training between two checkpoints; more where writing one takes over a tenth of
    them. A shorter training writes none."""
    every_steps: Count | None = None
    """Optimiser steps between two checkpoints, in place of the minutes."""


class StudentConfig(Section):
    """The small model, and how it is fine-tuned after each stage."""

    added: ClassVar[frozenset[str]] = frozenset({"label_weight", "domain_weights", "quantization"})

    model: str = "bundled"
    """Hub id or path of a Hugging Face causal language model."""
    prompts: str = "auto"
    """Prompt set, as for the teacher: the student is asked by its `student` template."""
    target: Literal["rationale", "label", "both"] = "rationale"
    """`rationale`: `{rationale}\\nAnswer: {answer}`; `label`: the answer alone, and no teacher
    call for a real example whose gold answer is used (`rationale.accept: gold`); `both`: the answer
    alone to one prompt (`predict`) and the rationale to another (`explain`), so that the student
    answers in few tokens (distilling step-by-step)."""
    label_weight: Share = 0.5
    """For `target: both`: w of the loss w * (mean over label tokens) + (1 - w) * (mean over
    rationale tokens)."""
    domain_weights: DomainWeights = "none"
    """Weight of an example in the loss, by the n of the N training examples that its domain has:
    `inverse` 1 / n, `sqrt` 1 / sqrt(n), `class_balanced` 0.1 / (1 - 0.9^n), `disco` ln(1 + N / n),
    each scaled to a mean of 1. The default counts all alike: quotas balance."""
    data: Literal["cumulative", "stage"] = "cumulative"
    """Training data of a stage: all that was annotated so far (`cumulative`), or its own batch
    alone (`stage`)."""
    init: Literal["base", "previous"] = "base"
    """Weights that a stage starts from: the base student (`base`), or the student of the stage
    before (`previous`)."""
    epochs: Annotated[float, Field(gt=0.0, le=1000.0)] = 3.0
    """Passes over the stage's training data."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 2e-5
    """Peak of the schedule."""
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Decay of the rate after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.03
    """Share of the steps over which the rate rises."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight decay of AdamW."""
    batch_size: Count = 32
    """Examples of one optimiser step on one worker."""
    gradient_accumulation: Count = 1
    """Batches to an optimiser step, which then has `batch_size` times as many examples."""
    tokens_per_batch: Annotated[int, Field(ge=16)] | Literal["auto"] = "auto"
    """Tokens that are computed at once, padding included: memory and speed, not what is learnt.
    `auto`: as many as the GPU's memory holds, at most 16,384; on a CPU 1,024."""
    max_length: Annotated[int, Field(ge=16)] = 1024
    """Tokens of prompt and target; a longer prompt loses its beginning, a longer target its end."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 on a GPU that has it, float32 on a CPU."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    optimizer: str = "auto"
    """An optimiser by transformers' name, such as adafactor or adamw_8bit; `auto`: fused AdamW."""
    compile: bool = False
    """Compile the model (torch.compile): pays in long trainings on a GPU."""
    trainer: OpenOptions = Field(default_factory=dict)
    """Any other field of transformers' TrainingArguments, such as max_grad_norm: 0.5."""
    lora: LoraConfig | None = None
    """Adapters instead of full fine-tuning."""
    quantization: Literal["4bit"] | None = None
    """`4bit`: adapters on a base in nf4 (QLoRA, extra `qlora`), a quarter of the memory of its
    weights. The saved student has the base's own type."""
    checkpoint: Annotated[CheckpointConfig | None, BeforeValidator(switch)] = CheckpointConfig()
    """Checkpoints within the training of a stage; `false` for none. They are deleted when the
    stage's student is saved."""
    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Ray Train workers; 0 trains in the driver; `auto`: one for each GPU, 0 without one."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Parallelism of several workers: with `ddp` each holds the whole training; with `fsdp`
    (PyTorch's FSDP2) they share out weights, gradients and optimiser."""
    worker_resources: WorkerResources = WorkerResources()
    """Resources that each training worker reserves, and the nodes that it may run on."""
    engine: StudentEngine = AutoOptions()
    """Engine that runs the student when it responds and is evaluated: auto | transformers | vllm.
    `auto` is vllm where it is installed and there is a GPU, else transformers."""
    response: SamplingConfig = SamplingConfig()
    """Sampling for the student's responses, in selection and in evaluation."""
    resources: EngineResources = EngineResources()
    """The actor pool that responds and scores."""

    @property
    def asked(self) -> dict[str, str]:
        """Return what decides the student's prompts, for the keys of steps that only ask it."""
        return {"prompts": self.prompts} | ({"target": "both"} if self.target == "both" else {})

    @model_validator(mode="after")
    def _fits_together(self) -> StudentConfig:
        if self.quantization is not None and self.lora is None:
            raise ValueError(
                "quantization=4bit freezes the base: set student.lora={rank: 16}, or leave it out"
            )
        whole = {
            "quantization=4bit": self.quantization is not None,
            "trainer.use_liger_kernel": bool(self.trainer.get("use_liger_kernel")),
        }
        for option, is_set in whole.items():
            if is_set and self.parallel == "fsdp":
                raise ValueError(f"parallel=fsdp and {option} exclude each other: leave one out")
        return self

    @field_validator("trainer")
    @classmethod
    def _fields_of_trainer(cls, options: dict[str, Any]) -> dict[str, Any]:
        check_options(options)
        return options

    @field_validator("optimizer")
    @classmethod
    def _name_of_optimizer(cls, name: str) -> str:
        check_optimizer(name)
        return name


class EvaluationConfig(Section):
    """Options of the student's evaluations: their times, gold answers, metrics and benchmarks."""

    added: ClassVar[frozenset[str]] = frozenset(
        {"gold", "metrics", "teacher", "benchmarks", "lm_eval"}
    )
    beside: ClassVar[frozenset[str]] = frozenset({"teacher", "benchmarks", "lm_eval"})
    """Options that decide nothing about the student's answers: they may be set at any time."""

    gold: Literal["corpus", "teacher"] = "corpus"
    """`corpus`: the gold answers of the evaluation set; `teacher`: it has none, and what most of
    `rationale.votes` answers of the teacher conclude stands in. Figures then say how often the
    student agrees with its teacher, not how often it is right."""

    teacher: bool = False
    """Let the teacher answer the evaluation set, too, once, after the last stage and without seeing
    gold answers: a column beside the students' that says how far they are from it. Its calls are on
    the ledger (purpose `evaluation`) and within the caps; no unit of the budget."""
    metrics: dict[str, str] = Field(default={})
    """Metrics of your own, by name: `package.module:Name`, or an entry point of the group
    `baldistill.metrics`."""
    benchmarks: BenchmarkNames = ()
    """Public benchmarks that the base student and the last student answer through lm-eval (extra
    `benchmarks`), to see what was forgotten: names of tasks or groups, such as `[hellaswag,
    arc_easy]`, or paths of task files (YAML) of your own. `compare` and `sweep` leave them out."""
    lm_eval: LmEvalConfig = LmEvalConfig()
    """Options with which lm-eval asks `benchmarks`."""
    every_stage: bool = True
    """Evaluate after each stage; otherwise after the last one only."""
    base_student: bool = True
    """Also evaluate the base student, before the first stage (zero-shot)."""
    head_mass: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """`head` in the metrics is the smallest set of largest domains with this share."""
