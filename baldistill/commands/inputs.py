"""Read what a run needs before its first stage: prompts, recordings and the corpus."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from baldistill.answers.store import ResponseStore
from baldistill.commands.domain_teacher import namer_of
from baldistill.config import Config, DataConfig
from baldistill.config.teachers import recorded_sources
from baldistill.core.own_filter import check_own_filter
from baldistill.core.own_metrics import check_own_metrics
from baldistill.core.own_parts import OwnPartError
from baldistill.core.own_score import OwnScore, check_own_score
from baldistill.core.own_task import check_own_tasks
from baldistill.data.labels import label_sets
from baldistill.data.likelihood_bins import Scorer
from baldistill.data.named_domains import Namer
from baldistill.data.prepare import prepare_corpus
from baldistill.data.recorded_examples import RecordedSummary, find_recorded, prepare_recorded
from baldistill.data.summary import CorpusSummary
from baldistill.errors import ConfigError, DataError, MissingPackageError
from baldistill.generation.replay import check_recording
from baldistill.method.context import Context
from baldistill.placement.engines import Engines
from baldistill.progress.counter import start_counter
from baldistill.progress.display import Display
from baldistill.run_folder.layout import (
    CORPUS,
    CORPUS_STEP,
    DOMAINS,
    RECORDED,
    RECORDED_STEP,
    RUBRIC,
)
from baldistill.run_folder.steps import Chain
from baldistill.storage import Storage
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.rubric_judge import load_rubric


def prepare(
    config: Config, storage: Storage, responses: ResponseStore, engines: Engines, display: Display
) -> tuple[Context, Chain]:
    """Load prompts and corpus, and return what the stages need with the chain that they continue.

    Raises:
        UserError: Prompts, a recording or the corpus cannot be used.
    """
    student_prompts = load_prompts(config.student.prompts, model=config.student.model)
    student_prompts = student_prompts.for_target(config.student.target)
    teacher_prompts = tuple(load_prompts(t.prompts, model=t.model) for t in config.models_asked)
    rubric = None if config.judge is None else load_rubric(config.judge, storage, RUBRIC)
    check_recordings(config)
    check_own_parts(config)
    namer = namer_of(config, storage, responses, lambda: engines.teacher(0), display)
    chain, corpus = validated_corpus(config, storage, display, namer)
    recorded = validated_recordings(config, chain, corpus, display)
    labels = label_sets(config, corpus.counts, storage)
    context = Context(
        config=config,
        storage=storage,
        corpus=corpus,
        engines=engines,
        responses=responses,
        student_prompts=student_prompts.with_labels(labels),
        teacher_prompts=tuple(prompts.with_labels(labels) for prompts in teacher_prompts),
        display=display,
        recorded=recorded.counts,
        rubric=rubric,
        counter=start_counter(),
    )
    return context, chain


def check_own_parts(config: Config) -> None:
    """Make the parts of users that a run needs, but for a policy, which the plan asks.

    Raises:
        ConfigError: One cannot be made.
    """
    key = "evaluation.metrics"
    try:
        check_own_metrics(config.evaluation.metrics)
        key = "selection.metric"
        if isinstance(config.selection.metric, OwnScore):
            check_own_score(config.selection.metric)
        key = "rationale.filter"
        check_own_filter(config.rationale.filter)
        key = "tail.filter"
        check_own_filter(config.tail.filter)
        key = "data.task"
        check_own_tasks(config.tasks)
    except OwnPartError as error:
        raise ConfigError(f"{key}: {error}") from error


def check_recordings(config: Config) -> None:
    """Check the recordings of `replay` teachers before the corpus is read.

    Raises:
        UserError: A recording does not exist, or is not as described.
    """
    for tier in config.teacher.tiers:
        if tier.kind == "replay":
            check_recording(tier)
    for source in recorded_sources(config.teacher.tiers).values():
        find_recorded(source)


def validated_recordings(
    config: Config, chain: Chain, corpus: CorpusSummary, display: Display
) -> RecordedSummary:
    """Read and validate recorded new examples, where there are any: the step after the corpus.

    Raises:
        DataError: A recording cannot be used.
    """
    sources = recorded_sources(config.teacher.tiers)
    if not sources:
        return RecordedSummary()
    storage = chain.storage
    limits = {"max_question_chars", "max_answer_chars", "max_bad_fraction"}
    recorded = chain.step(
        RECORDED_STEP,
        {"sources": sources, "data": config.data.model_dump(mode="json", include=limits)},
        lambda: prepare_recorded(sources, config.data, storage),
        RecordedSummary,
        writes=(RECORDED,),
    )
    num_bad = sum(recorded.quarantined.values())
    quarantine = f", {num_bad:,} rows in quarantine ({storage.uri_of(RECORDED)})"
    display.say(
        f"recorded new examples: {sum(recorded.counts.values()):,} in "
        f"{len(recorded.counts):,} domains" + (quarantine if num_bad else "")
    )
    if unknown := sorted(recorded.counts.keys() - corpus.counts.keys()):
        listed = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        display.say(f"  warning: {len(unknown)} of these domains are not in the corpus ({listed})")
    return recorded


@contextmanager
def scratch_folder(command: str) -> Iterator[Storage]:
    """Open a folder that is removed at the end, unless its corpus cannot be used."""
    with ExitStack() as removal:
        folder = tempfile.mkdtemp(prefix=f"baldistill-{command}-")
        removal.callback(shutil.rmtree, folder)
        try:
            yield Storage.open(folder)
        except DataError:
            removal.pop_all()
            raise


def validated_corpus(
    config: Config, storage: Storage, display: Display, namer: Namer | None = None
) -> tuple[Chain, CorpusSummary]:
    """Read, validate and split the corpus, once: the first step of the chain.

    `namer` asks the teacher where domains are named; without it only a corpus that was prepared
    before can have such domains.

    Raises:
        MissingPackageError: A package to compare answers with is missing.
        DataError: The corpus cannot be used.
    """
    _check_packages(config.data)
    scorer, questions_decide = scorer_of(config.data), config.data.domain_column is None
    display.say("reading the corpus ...")
    chain = Chain(storage)
    corpus = chain.step(
        CORPUS_STEP,
        {"data": config.data.model_dump(mode="json"), "seed": config.seed} | _who_names(config),
        lambda: prepare_corpus(
            config.data, config.seed, storage, partial(display.task, brief=True), scorer, namer
        ),
        CorpusSummary,
        writes=(*CORPUS, DOMAINS) if questions_decide else CORPUS,
    )
    display.say(
        f"corpus: {sum(corpus.counts.values()):,} examples in {len(corpus.counts)} domains, "
        f"{sum(corpus.evaluation_counts.values()):,} to evaluate on, "
        f"{sum(corpus.quarantined.values()):,} rows in quarantine ({chain.seconds:.1f} s)"
    )
    if corpus.quarantined:
        display.say(f"  left out: {left_out(corpus)}")
    for warning in corpus.warnings:
        display.say(f"  warning: {warning}")
    return chain, corpus


def _who_names(config: Config) -> dict[str, Any]:
    """Return what decides the domains that a teacher names."""
    if config.data.domains is None or config.data.domains.names is None:
        return {}
    signature = config.teacher.tiers[0].signature()
    return {"teacher": [signature[key] for key in ("identity", "prompts", "rationale")]}


def judged_note(config: Config) -> str | None:
    """Say who decides about answers that are texts, and what that costs; None without a judge."""
    if (judge := config.judge) is None:
        return None
    low, high = judge.scale
    return (
        f"a judge ({judge.teacher.model}) reads each text by {judge.rubric} and accepts it from "
        f"{judge.accept} on ({low} to {high}): a call for each rationale, new example and "
        "evaluation answer, and one more where its verdict cannot be read"
    )


def left_out(corpus: CorpusSummary) -> str:
    """Return the number of rows in quarantine by reason, as a text."""
    reasons = (f"{count:,} {reason}" for reason, count in corpus.quarantined.items())
    return ", ".join(reasons) or "nothing"


def scorer_of(data: DataConfig) -> Scorer | None:
    """Return what scores the questions, where domains are made by likelihood.

    Raises:
        UserError: There is no such model.
    """
    if data.domains is None or data.domains.model is None:
        return None
    from baldistill.generation.likelihood import TextLikelihood  # torch, only where it is needed

    scorer = TextLikelihood(data.domains.model)
    scorer.check()
    return scorer


def _check_packages(data: DataConfig) -> None:
    """Fail before the teacher is paid, since answers are compared only afterwards."""
    is_math = "math" in (data.task, *data.domain_tasks.values())
    if is_math and importlib.util.find_spec("math_verify") is None:
        raise MissingPackageError(
            "data.task or data.domain_tasks is math, and comparing mathematical answers needs "
            "math-verify: pip install 'baldistill[math]'"
        )
