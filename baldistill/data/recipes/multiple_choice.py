"""Multiple-choice question answering: ten data sets, each a domain.

What the paper says (section 4, table 1): ten domains, 10,520 test rows, budgets of 5,000 and 8,000.
The authors' code (Tonyzhou98/long_tail_kd) has these ten, cut as in the long-tailed question
answering benchmark OLTQA (Dai et al. 2023): Zipf with alpha 2 by rank among its 21 sets. How many
rows that leaves is not in the code; the shares are those of the 5,000 rows that it draws at random.
Where a set's test answers are secret, its validation split is the evaluation set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from baldistill.data.recipes.row import Row, with_context

SHARES = {
    "race": 0.35,
    "winogrande": 0.19,
    "siqa": 0.16,
    "commonsenseqa": 0.08,
    "qasc": 0.05,
    "openbookqa": 0.04,
    "piqa": 0.04,
    "arc_easy": 0.03,
    "mctest": 0.03,
    "arc_challenge": 0.02,
}
"""Of the 5,000 random rows in the authors' code, as far as two digits go."""


def race(row: Mapping[str, Any]) -> Iterator[Row]:
    """`ehovy/race`: article, question, options, answer (a letter)."""
    question = with_context(row["article"], row["question"])
    yield Row("race", question, row["answer"], tuple(row["options"]))


def openbookqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`allenai/openbookqa`: question_stem, choices (text, label), answerKey."""
    yield from _keyed("openbookqa", row["question_stem"], row)


def mctest(row: Mapping[str, Any]) -> Iterator[Row]:
    r"""`sagnikrayc/mctest`: story (line ends as `\newline`), question, answer_options by letter."""
    options = row["answer_options"]
    letters = sorted(letter for letter, text in options.items() if text)
    question = with_context(row["story"].replace("\\newline", "\n"), row["question"])
    yield from _lettered("mctest", question, [options[k] for k in letters], letters, row["answer"])


def arc_easy(row: Mapping[str, Any]) -> Iterator[Row]:
    """`allenai/ai2_arc`, ARC-Easy: question, choices (text, label; A or 1 first), answerKey."""
    yield from _keyed("arc_easy", row["question"], row)


def arc_challenge(row: Mapping[str, Any]) -> Iterator[Row]:
    """`allenai/ai2_arc`, ARC-Challenge."""
    yield from _keyed("arc_challenge", row["question"], row)


def commonsenseqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`tau/commonsense_qa`: question, choices (label, text), answerKey (empty in the test set)."""
    yield from _keyed("commonsenseqa", row["question"], row)


def qasc(row: Mapping[str, Any]) -> Iterator[Row]:
    """`allenai/qasc`: question, choices (text, label; A to H), answerKey."""
    yield from _keyed("qasc", row["question"], row)


def piqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`ybisk/piqa`: goal, sol1, sol2, label (0 or 1; -1 in the test set)."""
    choices = [row["sol1"], row["sol2"]]
    yield from _lettered("piqa", row["goal"], choices, ["0", "1"], str(row["label"]))


def siqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """`lighteval/siqa` (Social IQa): context, question, answerA, answerB, answerC, label (1-3)."""
    question = with_context(row["context"], row["question"])
    choices = [row["answerA"], row["answerB"], row["answerC"]]
    yield from _lettered("siqa", question, choices, ["1", "2", "3"], str(row["label"]))


def winogrande(row: Mapping[str, Any]) -> Iterator[Row]:
    """`allenai/winogrande`: sentence with a blank `_`, option1, option2, answer (1, 2 or empty)."""
    question = f"What does the blank _ stand for?\n\n{row['sentence'].strip()}"
    choices = [row["option1"], row["option2"]]
    yield from _lettered("winogrande", question, choices, ["1", "2"], str(row["answer"]))


def _keyed(domain: str, question: str, row: Mapping[str, Any]) -> Iterator[Row]:
    choices = row["choices"]
    yield from _lettered(domain, question, choices["text"], choices["label"], row["answerKey"])


def _lettered(
    domain: str, question: str, choices: Sequence[str], labels: Sequence[str], answer: str
) -> Iterator[Row]:
    """Yield the row with its answer as a letter, whatever the source calls its choices."""
    key = (answer or "").strip()
    if key in labels:
        letter = ascii_uppercase[list(labels).index(key)]
        yield Row(domain, question.strip(), letter, tuple(choices))
