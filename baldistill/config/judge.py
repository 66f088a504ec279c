"""The part of the config that says who judges answers that are texts, and by what."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from baldistill.config.sections import Section, engine_shorthand
from baldistill.config.teachers import TierConfig


class JudgeConfig(Section):
    """A model that gives texts a score by a rubric, for domains of the task `judged`."""

    teacher: Annotated[TierConfig, Field(discriminator="kind"), BeforeValidator(engine_shorthand)]
    """The model that judges, with the options of a teacher and its own prices. Its `rationale` is
    the sampling of verdicts. The caps of `budget` hold for all models together."""
    rubric: Annotated[str, Field(min_length=1)]
    """A text file that says what a good answer is, in your words."""
    scale: tuple[int, int] = (1, 5)
    """The lowest and the highest score."""
    accept: int = 4
    """An answer with at least this score is accepted."""

    @field_validator("teacher")
    @classmethod
    def _can_judge(cls, teacher: TierConfig) -> TierConfig:
        if teacher.recorded:
            raise ValueError(
                "a judge reads new texts, and a recording (kind: replay) knows none: name a model"
            )
        return teacher

    @model_validator(mode="after")
    def _accepts_on_the_scale(self) -> JudgeConfig:
        low, high = self.scale
        if not (low < high <= low + 100):
            raise ValueError(
                f"scale=[{low}, {high}] must be a lowest and a highest score, at most 100 apart, "
                "such as [1, 5]"
            )
        if not low < self.accept <= high:
            raise ValueError(
                f"accept={self.accept} must be above the lowest score {low}, which any text gets, "
                f"and at most {high}: set judge.accept={high - 1 if high - 1 > low else high}"
            )
        return self

    def signature(self) -> dict[str, Any]:
        """Return what decides the verdicts."""
        return {
            "teacher": self.teacher.signature(),
            "rubric": self.rubric,
            "scale": list(self.scale),
            "accept": self.accept,
        }
