"""Notes of `baldistill plan`: quotas to come, answers that count, who is asked besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from baldistill.config import Config
from baldistill.core.majority import quorum
from baldistill.core.policies import Gain
from baldistill.method.mistakes import seeds_are_wrong_ones
from baldistill.method.plan import StagePlan
from baldistill.method.select import candidate_counts, uses_metric


def quotas_to_come(config: Config) -> str | None:
    """Say that the quotas of later stages are not known yet, where the student decides them."""
    policy = config.budget.policy
    if not policy.questions or config.stages == 1:
        return None
    return (
        f"from stage 2 on the quotas follow the student's errors (budget.policy={policy.kind}): "
        f"before each stage it answers up to {policy.questions} real examples of each domain, and "
        "no teacher is asked; those shown are a guess without its errors"
        + (
            ". With budget.policy=gain the same answers serve a stated aim, and what a domain has "
            "had counts"
            if policy.kind == "errors"
            else ""
        )
    )


def scored_by_the_student(config: Config, stages: Sequence[StagePlan]) -> str | None:
    """Say how many candidates are scored, by whom, and from how many answers to each."""
    selection = config.selection
    number = 0
    for stage in stages:
        if uses_metric(config, stage.stage):
            counts = candidate_counts(stage, selection.candidates_per_quota)
            number += sum(counts[domain] for domain in stage.head)
    if not number:
        return None
    scorer = "the student" if selection.by == "student" else f"{selection.by} (selection.by)"
    times = f" {selection.samples} times" if selection.metric == "disagreement" else ""
    work = (
        f"reads the gold answers of up to {number:,} candidates"
        if selection.text == "gold"
        else f"answers up to {number:,} candidates{times}"
    )
    return (
        f"{scorer} {work} to select from them (selection.metric={selection.metric_name}), and no "
        "teacher is asked"
    )


def mistakes_are_looked_for(
    config: Config, stages: Sequence[StagePlan], counts: Mapping[str, int]
) -> str | None:
    """Say what `tail.seeds: wrong` costs the student."""
    number = sum(
        counts[domain]
        for stage in stages
        if seeds_are_wrong_ones(config, stage.stage)
        for domain, tail in stage.tail.items()
        if tail.synthetic
    )
    if not number:
        return None
    return (
        f"the student answers up to {number:,} real examples of domains that get new ones, which "
        "are written after its mistakes (tail.seeds=wrong)"
    )


def thoughts_are_taught(config: Config) -> str | None:
    """Say what `rationale.keep: thoughts` asks of the teachers."""
    if config.rationale.keep == "answer":
        return None
    most = ", ".join(f"{tier.rationale.max_new_tokens:,}" for tier in config.teacher.tiers)
    return (
        "the teacher's thoughts are taught (rationale.keep=thoughts): thoughts and answer together "
        f"have at most {most} tokens (teacher.rationale.max_new_tokens), or are rejected"
    )


def domains_were_asked(config: Config) -> str | None:
    """Say that the teacher was asked about domains before a plan could be made."""
    made = config.data.domains
    if made is None or made.names is None:
        return None
    return (
        f"the teacher sorted {made.sample:,} questions at most into data.domains.names before: "
        "these calls count for the caps of budget, and are not among those below"
    )


def accepted_without_gold(config: Config) -> str | None:
    """Say how answers are accepted where no gold answer decides."""
    rationale = config.rationale
    if rationale.accept == "majority":
        votes = rationale.votes
        return (
            f"answers are accepted by majority: {quorum(votes)} of {votes} votes, and each vote is "
            f"a call ({quorum(votes)} for an example if they agree)"
        )
    return (
        "answers are accepted unchecked (rationale.accept=any)"
        if rationale.accept == "any"
        else None
    )


def teacher_was_shown_answers(config: Config) -> str | None:
    """Say where `beyond_teacher` subtracts no error of the teacher's own."""
    policy = config.budget.policy
    subtracts = isinstance(policy, Gain) and policy.beyond_teacher and config.stages > 1
    if not subtracts or not config.teacher_explains or config.rationale.sees == "question":
        return None
    return (
        "budget.policy.beyond_teacher subtracts how often the teacher is given up, but it is shown "
        "the gold answers (rationale.sees=answer) and errs less than by itself: set "
        "rationale.sees=question for its own error"
    )


def benchmarks_are_asked(config: Config) -> str | None:
    """Say who answers public benchmarks; they cost time of the student's, and no call."""
    evaluation = config.evaluation
    if not evaluation.benchmarks:
        return None
    limit = evaluation.lm_eval.limit
    return (
        f"lm-eval asks the base student and the last one {', '.join(evaluation.benchmarks)} "
        f"(evaluation.benchmarks): {f'{limit:,} examples' if limit else 'all examples'} of each "
        "task, and no teacher is asked"
    )


def teacher_answers_evaluation(config: Config) -> str | None:
    """Say when the teacher answers the evaluation set, and how often it is asked."""
    if config.evaluation.gold == "teacher":
        return (
            "the teacher answers the evaluation set, too, before the first stage (evaluation.gold="
            f"teacher): {config.rationale.votes} calls for a question at most"
        )
    return (
        "the teacher answers the evaluation set, too, after the last stage "
        "(evaluation.teacher=true): one call for a question, as far as the caps allow"
        if config.evaluation.teacher
        else None
    )
