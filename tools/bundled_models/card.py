"""Measure the bundled teacher on fresh questions."""

from __future__ import annotations

import random
from dataclasses import dataclass

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from baldistill.bundled.domains import check, make_example
from tools.bundled_models import formats
from tools.bundled_models.language_model import complete
from tools.bundled_models.lessons import MOST_DEMONSTRATIONS, draw_demonstrations


@dataclass(frozen=True, slots=True)
class TeacherFigures:
    """Shares of a domain's prompts, from 0 to 1."""

    solve_accuracy: float
    """Right answers, greedily, from the question alone."""
    rationale_accuracy: float
    """Conclusions equal to the gold answer, greedily, from question and gold answer."""
    synthesis_well_formed: float
    """Written questions that are valid questions of the domain, sampled at temperature 1."""
    synthesis_right: float
    """Written questions whose own answer is right."""
    synthesis_distinct: float
    """Different questions among those written."""


def _share(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 4)


def measure_teacher(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    domain: str,
    rng: random.Random,
    *,
    num_questions: int = 200,
    num_synthesised: int = 200,
) -> TeacherFigures:
    """Let the teacher solve, explain and write questions of a domain."""
    examples = [make_example(domain, rng) for _ in range(num_questions)]
    gold = [example.answer for example in examples]

    def concludes_right(prompts: list[str]) -> float:
        parsed = map(formats.parse_solution, complete(model, tokenizer, prompts))
        return _share([p is not None and p[1] == g for p, g in zip(parsed, gold, strict=True)])

    prompts = [
        formats.synthesis_prompt(
            domain, draw_demonstrations(domain, rng.randint(1, MOST_DEMONSTRATIONS), rng)
        )
        for _ in range(num_synthesised)
    ]
    texts = complete(model, tokenizer, prompts, temperature=1.0)
    written = [parsed for text in texts if (parsed := formats.parse_synthesis(text))]
    golds = [check(domain, question) for question, _, _ in written]
    missing = [False] * (num_synthesised - len(written))
    return TeacherFigures(
        solve_accuracy=concludes_right([formats.solve_prompt(e.question) for e in examples]),
        rationale_accuracy=concludes_right(
            [formats.rationale_prompt(e.question, e.answer) for e in examples]
        ),
        synthesis_well_formed=_share([g is not None for g in golds] + missing),
        synthesis_right=_share(
            [g == answer for g, (_, _, answer) in zip(golds, written, strict=True)] + missing
        ),
        synthesis_distinct=round(len({q for q, _, _ in written}) / num_synthesised, 4),
    )
