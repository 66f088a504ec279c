"""The paper's five corpora: their sources, tasks, tails and budgets (table 1)."""

from __future__ import annotations

from dataclasses import dataclass

from baldistill.config import Task
from baldistill.data.recipes import abstractive, competition_math, multiple_choice, news
from baldistill.data.recipes.source import PARQUET, Source


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make a corpus.

    `budgets` are the paper's two (B), `alpha` is the Zipf exponent over the domains by size; 0
    keeps the source's own tail.
    """

    name: str
    task: Task
    sources: tuple[Source, ...]
    budgets: tuple[int, int]
    alpha: float = 0.0


_R52 = Source(
    "mingi-sid/r52-raw", news.r52, evaluation="train", files="r52-raw.txt", columns=news.R52_COLUMNS
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("r52", "classification", (_R52,), (2600, 5200)),
        Recipe(
            "reuters",
            "classification",
            (Source("Tellurio/reuters-21578", news.reuters),),
            (4500, 9000),
        ),
        Recipe(
            "abstractive-qa",
            "qa",
            (
                Source("deepmind/narrativeqa", abstractive.narrativeqa),
                Source(
                    "google-research-datasets/nq_open",
                    abstractive.natural_questions,
                    evaluation="validation",
                ),
                Source("ucinlp/drop", abstractive.drop, evaluation="validation"),
                Source("stanfordnlp/coqa", abstractive.coqa, evaluation="validation"),
                Source(
                    "ucsbnlp/tweet_qa",
                    abstractive.tweetqa,
                    evaluation="validation",
                    revision=PARQUET,
                    files="default/{split}/*.parquet",
                ),
            ),
            (5000, 10_000),
            alpha=2.0,
        ),
        Recipe(
            "multiple-choice-qa",
            "multiple_choice",
            (
                Source("ehovy/race", multiple_choice.race, config="all"),
                Source("allenai/openbookqa", multiple_choice.openbookqa, config="main"),
                Source(
                    "sagnikrayc/mctest",
                    multiple_choice.mctest,
                    revision=PARQUET,
                    files="mc500/{split}/*.parquet",
                ),
                Source("allenai/ai2_arc", multiple_choice.arc_easy, config="ARC-Easy"),
                Source("allenai/ai2_arc", multiple_choice.arc_challenge, config="ARC-Challenge"),
                Source(
                    "tau/commonsense_qa", multiple_choice.commonsenseqa, evaluation="validation"
                ),
                Source("allenai/qasc", multiple_choice.qasc, evaluation="validation"),
                Source(
                    "ybisk/piqa",
                    multiple_choice.piqa,
                    evaluation="validation",
                    revision=PARQUET,
                    files="plain_text/{split}/*.parquet",
                ),
                Source("lighteval/siqa", multiple_choice.siqa, evaluation="validation"),
                Source(
                    "allenai/winogrande",
                    multiple_choice.winogrande,
                    evaluation="validation",
                    config="winogrande_xl",
                ),
            ),
            (5000, 8000),
            alpha=2.0,
        ),
        Recipe(
            "math",
            "math",
            tuple(
                Source("EleutherAI/hendrycks_math", competition_math.problem, config=subject)
                for subject in competition_math.SUBJECTS
            ),
            (2100, 3500),
        ),
    )
}
"""By name."""
