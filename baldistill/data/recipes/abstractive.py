"""Abstractive question answering: five data sets, each a domain.

What the paper says (section 4, table 1): five domains, 10,000 test rows, budgets of 5,000 and
10,000 (1,000 and 2,000 a domain, says the README of its code). Which five, we could not read; the
long-tailed question answering benchmark OLTQA (Dai et al. 2023, which the paper cites) has five
abstractive sets: NarrativeQA, Natural Questions, DROP, QAConv and TweetQA. QAConv is not on the
hub: CoQA, conversations as well, takes its place. The sets are made long-tailed as the
multiple-choice ones are (Zipf, alpha 2), which the paper does not say in what we could read.
Where a source gives several gold answers, the first is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from baldistill.data.recipes.row import Row, with_context

_TURNS_SHOWN = 3


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


def coqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`stanfordnlp/coqa`: story, questions, answers.input_text: a row for each turn.

    A question is asked with the turns before it (the last three): it may mean "he" by one of them.
    """
    turns = list(zip(row["questions"], row["answers"]["input_text"], strict=True))
    for number, (question, answer) in enumerate(turns):
        before = turns[max(0, number - _TURNS_SHOWN) : number]
        lines = [f"Q: {q.strip()}\nA: {a.strip()}" for q, a in before]
        asked = "\n".join([*lines, f"Q: {question.strip()}"]) if lines else question
        yield from _first("coqa", with_context(row["story"], asked), [answer])


def tweetqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`ucsbnlp/tweet_qa`: Tweet, Question, Answer (a list; empty in the test set)."""
    yield from _first("tweetqa", with_context(row["Tweet"], row["Question"]), row["Answer"])


def _first(domain: str, question: str, answers: list[str]) -> Iterator[Row]:
    given = [answer.strip() for answer in answers if answer.strip()]
    if given:
        yield Row(domain, question.strip(), given[0])
