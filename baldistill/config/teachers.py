"""The part of the config that says who teaches.

A teacher is an engine with a model, prompts, sampling and prices. The options of both stand side by
side in `teacher:`, told apart by `kind`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from baldistill.config.engines import (
    OpenAIOptions,
    ReplayOptions,
    SamplingConfig,
    TransformersOptions,
    VllmOptions,
)
from baldistill.config.placement import EngineResources
from baldistill.config.sections import OpenOptions, Section, engine_shorthand, use_as_section
from baldistill.core.ledger_entries import Prices

use_as_section(Prices)


class TeacherOptions(Section):
    """Options that every teacher has, whatever runs it."""

    model: str = "bundled"
    """Hub id or path of a Hugging Face model, or the server's name for it; `bundled` is the small
    one in the package."""
    prompts: str = "auto"
    """Prompt set: `instruct`, `compact`, or the path of a YAML file of the same form; `auto` is
    `compact` for the bundled model and `instruct` otherwise."""
    rationale: SamplingConfig = SamplingConfig()
    """Sampling for rationales (a second attempt samples at temperature 0.7 if this is 0)."""
    synthesis: SamplingConfig = SamplingConfig(max_new_tokens=160, temperature=1.0)
    """Sampling for new examples."""
    structured: bool = False
    """New examples as JSON after a schema, so that each can be read: for the engines that can
    hold a model to one (vllm, openai)."""
    resources: EngineResources = EngineResources()
    """The actor pool."""
    prices: Prices = Prices()
    """For the ledger and `budget.cost`."""

    @property
    def tiers(self) -> tuple[TierConfig, ...]:
        """Return the teachers to ask, one after the other while answers fail verification."""
        return (self,)  # type: ignore[return-value]  # every subclass is a TierConfig

    @property
    def recorded(self) -> bool:
        """Return whether the teacher only repeats recorded answers, which costs nothing."""
        return False

    @property
    def finds_again(self) -> bool:
        """Return whether the engine finds calls that a crash cut off and makes none twice."""
        return False

    @property
    def identity(self) -> tuple[str, str]:
        """Return engine and model for a request's id; subclasses add what decides answers."""
        return str(getattr(self, "kind", "")), self.model

    def signature(self) -> dict[str, Any]:
        """Return what decides the answers. Actors, limits and prices decide only speed and cost."""
        options = self.model_dump(
            mode="json", include={"prompts", "rationale", "synthesis", "structured"}
        )
        return {"identity": list(self.identity), **options}


class LocalTeacher(TeacherOptions):
    """A teacher whose prompts become tokens here, and not on a server."""

    chat_template_kwargs: OpenOptions = Field(default_factory=dict)
    """Variables of the tokenizer's chat template, such as `{enable_thinking: false}` for a model
    that thinks at length before it answers unless it is told not to."""

    @property
    def identity(self) -> tuple[str, str]:
        """Return engine and model; another chat makes another teacher."""
        kind, model = super().identity
        if not self.chat_template_kwargs:
            return kind, model
        return kind, f"{model} {json.dumps(self.chat_template_kwargs, sort_keys=True)}"


class TransformersTeacher(LocalTeacher, TransformersOptions):
    """A teacher through transformers: anywhere, without a server."""


class VllmTeacher(LocalTeacher, VllmOptions):
    """A teacher through a pool of vLLM engines."""

    lora: str | None = None
    """Hub id, folder or URI of a LoRA adapter that answers on top of the model."""
    chat_template: bool = True
    """Ask through the tokenizer's chat template, where it has one; otherwise the turns of a
    prompt are joined by blank lines, as for a base model."""

    @property
    def identity(self) -> tuple[str, str]:
        """Return engine and model; an adapter, or no chat template, makes another teacher."""
        kind, model = super().identity
        lora = f"+{self.lora}" if self.lora else ""
        plain = "" if self.chat_template else " without chat template"
        return kind, f"{model}{lora}{plain}"

    @model_validator(mode="after")
    def _template_to_fill(self) -> VllmTeacher:
        if self.chat_template_kwargs and not self.chat_template:
            raise ValueError(
                "chat_template_kwargs are for a chat template, and chat_template=false leaves it "
                "out: give one of the two"
            )
        return self


class OpenAITeacher(TeacherOptions, OpenAIOptions):
    """A teacher behind an OpenAI-compatible server."""

    resources: EngineResources = EngineResources(batch_size=8)
    """The clients. Small batches: an answer is on the ledger soon after it came."""

    @property
    def finds_again(self) -> bool:
        """Return true for the Batch API, which keeps batches and their answers for later."""
        return self.batch_api is not None

    @property
    def identity(self) -> tuple[str, str]:
        """Return engine and model; another server's model of the same name is another teacher."""
        model = f"{self.model}@{self.base_url}" if self.base_url else self.model
        decisive = {"api", "bos", "extra_body"}
        changed = self.model_dump(mode="json", include=decisive, exclude_defaults=True)
        return self.kind, f"{model} {json.dumps(changed, sort_keys=True)}" if changed else model


class ReplayTeacher(TeacherOptions, ReplayOptions):
    """A teacher whose answers were recorded; it has new examples where `synthetic` names them."""

    @property
    def recorded(self) -> bool:
        """Return true: a recording costs no call, no token and no money, only units of B."""
        return True

    @property
    def identity(self) -> tuple[str, str]:
        """Return engine and recording; the columns that are read decide the answers too."""
        columns = self.columns.model_dump(exclude_defaults=True)
        return self.kind, f"{self.path} {columns}" if columns else self.path

    def signature(self) -> dict[str, Any]:
        """Return what decides the answers: also the recorded new examples, where there are any."""
        new = {} if self.synthetic is None else {"synthetic": self.synthetic}
        return super().signature() | new


TierConfig: TypeAlias = TransformersTeacher | VllmTeacher | OpenAITeacher | ReplayTeacher
"""One teacher."""


class CascadeTeacher(Section):
    """A cheap teacher first, a dear one only for what fails verification.

    All share one ledger and the caps of `budget`, each with its own `prices`.
    """

    kind: Literal["cascade"] = "cascade"
    tiers: Annotated[
        tuple[
            Annotated[TierConfig, Field(discriminator="kind"), BeforeValidator(engine_shorthand)],
            ...,
        ],
        Field(min_length=2, max_length=8),
    ]
    """Teachers, the first asked first."""


def recorded_sources(tiers: tuple[TierConfig, ...]) -> dict[int, str]:
    """Return where the teachers with recorded new examples have them, by tier, from 1."""
    return {
        number: tier.synthetic
        for number, tier in enumerate(tiers, start=1)
        if isinstance(tier, ReplayTeacher) and tier.synthetic is not None
    }


TeacherConfig: TypeAlias = Annotated[
    TierConfig | CascadeTeacher, Field(discriminator="kind"), BeforeValidator(engine_shorthand)
]
"""One teacher, or several in a cascade."""
