"""The paper's five corpora: their sources, tasks, tails and budgets (table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from baldistill.config import Task
from baldistill.data.recipes import abstractive, competition_math, multiple_choice, news
from baldistill.data.recipes.source import PARQUET, Source


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe for a corpus.

    `budgets` are the paper's two (B). The training rows are cut where the source's own tail is not
    kept: `sizes` to so many of each domain, `shares` to these shares with as many rows as the
    scarcest domain allows, `drawn` by drawing so many of all at random (evaluation rows, too).
    """

    name: str
    task: Task
    sources: tuple[Source, ...]
    budgets: tuple[int, int]
    sizes: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    drawn: int | None = None


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
                Source(
                    "unifiedqa/qaconv",
                    abstractive.qaconv,
                    files="{split}.tsv",
                    columns=abstractive.UNIFIEDQA_COLUMNS,
                    quoted=False,
                    url="https://storage.googleapis.com/unifiedqa/data/qaconv",
                ),
                Source(
                    "ucsbnlp/tweet_qa",
                    abstractive.tweetqa,
                    evaluation="validation",
                    revision=PARQUET,
                    files="default/{split}/*.parquet",
                ),
            ),
            (5000, 10_000),
            drawn=10_000,
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
            shares=multiple_choice.SHARES,
        ),
        Recipe(
            "math",
            "math",
            tuple(
                Source("EleutherAI/hendrycks_math", competition_math.problem, config=subject)
                for subject in competition_math.SUBJECTS
            ),
            (2100, 3500),
            sizes=competition_math.SIZES,
        ),
    )
}
"""By name."""
