"""The part of the config that says how lm-eval asks public benchmarks."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from baldistill.config.sections import Count, Section


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} is named twice: name each task once")
    return names


BenchmarkNames: TypeAlias = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    AfterValidator(_distinct),
    BeforeValidator(_as_list),
]
"""Tasks of lm-eval; one may stand alone, without a list."""


class LmEvalConfig(Section):
    """Options with which lm-eval asks the tasks of `evaluation.benchmarks`."""

    limit: Count | None = None
    """Examples of each task: so many of its first; `null` for all."""
    num_fewshot: Annotated[int, Field(ge=0, le=100)] | None = None
    """Solved examples in each prompt; `null` for as many as the task says. A task that says 0 has
    none, whatever stands here."""
    chat_template: bool = False
    """Ask in the turns of the model's chat template, as students of instruction-tuned models want;
    `false`: in plain text, as base models want, and as most published figures were measured."""
    batch_size: Count | Literal["auto"] = "auto"
    """Requests that are computed at once: memory and speed. `auto`: on a GPU as many as its memory
    holds, at most 64; on a CPU 16."""


def is_task_file(name: str) -> bool:
    """Return whether a benchmark is the path of a task of the user's own, and not a name."""
    return name.endswith((".yaml", ".yml"))
