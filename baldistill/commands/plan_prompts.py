"""Measure the prompts of a plan's calls on a sample of the corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from baldistill.commands.plan_usage import PlannedCalls, PromptLengths
from baldistill.config import Config
from baldistill.config.teachers import TierConfig
from baldistill.generation.encoding import encode_prompt
from baldistill.generation.types import ModelRef, Prompt
from baldistill.records import transcript
from baldistill.teacher.prompts import PromptSet
from baldistill.teacher.rubric_judge import Rubric

_BYTES_PER_TOKEN = 4.0  # English prose under the tokenizers of large models


def prompt_lengths(
    config: Config,
    prompts: Sequence[PromptSet],
    calls: Sequence[PlannedCalls],
    sample: Mapping[str, Sequence[Mapping[str, Any]]],
    rubric: Rubric | None = None,
) -> PromptLengths:
    """Return the mean prompt tokens of the planned calls, a judge's without the text to judge.

    They are measured on a sample: some examples (question, answer) of each domain.
    """
    counters = [_token_counter(tier) for tier in config.models_asked]
    return {
        (part.tier, part.purpose, part.domain): fmean(
            counters[part.tier](prompt)
            for prompt in (
                _to_judge(rubric, sample.get(part.domain) or next(iter(sample.values())))
                if part.purpose == "judgement" and rubric is not None
                else _rendered(config, prompts[part.tier], part, sample[part.domain])
            )
        )
        for part in calls
    }


def _to_judge(rubric: Rubric, examples: Sequence[Mapping[str, Any]]) -> list[Prompt]:
    """Return prompts of a judge with an empty text to judge, since that is not written yet."""
    return [
        rubric.prompt(transcript(e.get("context"), e["question"]), "", e["answer"])
        for e in examples
    ]


def _rendered(
    config: Config, prompts: PromptSet, part: PlannedCalls, examples: Sequence[Mapping[str, Any]]
) -> list[Prompt]:
    domain = part.domain
    if part.purpose == "synthesis":
        shown = [
            {**example, "question": transcript(example.get("context"), example["question"])}
            for example in examples[: config.tail.demonstrations]
        ]
        structured = config.models_asked[part.tier].structured
        return [
            prompts.render("synthesis", domain=domain, demonstrations=shown, structured=structured)
        ]
    asked = [
        {"question": e["question"], "domain": domain, "context": e.get("context")} for e in examples
    ]
    if part.purpose != "rationale" or config.rationale.sees == "question":
        return [prompts.render("solve", **one) for one in asked]
    return [
        prompts.render("rationale", **one, answer=e["answer"])
        for one, e in zip(asked, examples, strict=True)
    ]


def _token_counter(tier: TierConfig) -> Callable[[Prompt], float]:
    """Count with the model's own tokenizer if it is on this machine, else by a rule of thumb."""
    if tier.kind in ("transformers", "vllm"):
        from transformers import AutoTokenizer  # heavy, and not needed by a sweep without a cap

        name = "bundled-teacher" if tier.model == "bundled" else tier.model
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                ModelRef(name).resolve(), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError):  # not on this machine, or no model: the run itself reports it
            return _rule_of_thumb
        variables = tier.chat_template_kwargs
        return lambda prompt: len(encode_prompt(tokenizer, prompt, variables))
    return _rule_of_thumb


def _rule_of_thumb(prompt: Prompt) -> float:
    texts = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    return sum(len(text.encode()) for text in texts) / _BYTES_PER_TOKEN
