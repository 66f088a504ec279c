"""Abstractive question answering: five data sets, each a domain.

What the paper says (section 4, table 1): five domains, 10,000 test rows, budgets of 5,000 and
10,000 (1,000 and 2,000 a domain, says the README of its code). The code (Tonyzhou98/long_tail_kd)
merges NarrativeQA, Natural Questions, DROP, QAConv and TweetQA, and draws 10,000 rows at random
without a further cut. It reads UnifiedQA's files, where Natural Questions have a passage and
NarrativeQA is its development part. Here QAConv, which is not on the hub, is read from there, and
the others from the hub. Where a source gives several gold answers, the first is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from baldistill.data.recipes.row import Row, with_context

UNIFIEDQA_COLUMNS = ("input", "answer")
"""Of UnifiedQA's files, which have no header; tab-separated."""


def narrativeqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`deepmind/narrativeqa`: document.summary.text, question.text, answers[].text.

    The questions are asked about the plot summary, not the book (whose text is most of the
    download).
    """
    question = with_context(row["document"]["summary"]["text"], row["question"]["text"])
    yield from _first("narrativeqa", question, [answer["text"] for answer in row["answers"]])


def natural_questions(row: Mapping[str, Any]) -> Iterator[Row]:
    """`google-research-datasets/nq_open`: question, answer (a list); asked without a passage."""
    yield from _first("natural_questions", row["question"], row["answer"])


def drop(row: Mapping[str, Any]) -> Iterator[Row]:
    """`ucinlp/drop`: passage, question, answers_spans.spans (numbers and dates as text)."""
    question = with_context(row["passage"], row["question"])
    yield from _first("drop", question, row["answers_spans"]["spans"])


def qaconv(row: Mapping[str, Any]) -> Iterator[Row]:
    r"""`qaconv` of UnifiedQA: input (question, ` \n ` as text, conversation), answer."""
    question, _, conversation = str(row["input"]).partition("\\n")
    if not conversation.strip():
        raise ValueError("input has no conversation behind its question")
    asked = with_context(conversation.replace("\\n", "\n"), question)
    yield from _first("qaconv", asked, [str(row["answer"])])


def tweetqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`ucsbnlp/tweet_qa`: Tweet, Question, Answer (a list; empty in the test set)."""
    yield from _first("tweetqa", with_context(row["Tweet"], row["Question"]), row["Answer"])


def _first(domain: str, question: str, answers: list[str]) -> Iterator[Row]:
    given = [answer.strip() for answer in answers if answer.strip()]
    if given:
        yield Row(domain, question.strip(), given[0])
