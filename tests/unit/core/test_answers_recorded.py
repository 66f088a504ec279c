"""Extraction against recorded rationales, whose answers a second prompt to the model extracted.

Where a rationale was cut off or names no answer, that prompt guessed and we do not; so what must
hold is high agreement where we find an answer, and that we find one where there is one.
"""

import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from baldistill.core.answers import equal, extract

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("BALDISTILL_SHARED_DATA", ROOT.parent / "shared" / "data"))
FILE = DATA / "cot12.parquet"

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not there")

# domain: task, least share found, least agreement where found (both of rows with both answers)
EXPECTED = {
    "addsub": ("math", 0.99, 0.83),
    "aqua": ("multiple_choice", 0.44, 0.80),
    "coin_flip": ("classification", 0.24, 0.96),
    "commonsenseqa": ("multiple_choice", 0.74, 0.82),
    "date_understanding": ("multiple_choice", 0.74, 0.93),
    "gsm8k": ("math", 0.98, 0.67),
    "last_letters": ("free_text", 0.98, 0.98),
    "multiarith": ("math", 0.98, 0.88),
    "object_tracking": ("multiple_choice", 0.94, 0.95),
    "singleeq": ("math", 0.98, 0.77),
    "strategyqa": ("classification", 0.28, 0.95),
    "svamp": ("math", 0.99, 0.80),
}


@pytest.fixture(scope="module")
def agreement() -> dict[str, tuple[float, float]]:
    rows, found, agreed = Counter(), Counter(), Counter()
    for row in pq.read_table(FILE).to_pylist():
        if row["rationale"] is None or row["rationale_answer"] is None:
            continue
        domain = row["domain"]
        task = EXPECTED[domain][0]
        labels = ["yes", "no"] if task == "classification" else None
        answer = extract(task, row["rationale"], labels, row["question"])
        rows[domain] += 1
        found[domain] += answer is not None
        agreed[domain] += equal(task, answer, row["rationale_answer"])
    return {name: (found[name] / rows[name], agreed[name] / found[name]) for name in rows}


@pytest.mark.parametrize("domain", EXPECTED)
def test_rationales_are_read_as_recorded(agreement, domain):
    found, agreed = agreement[domain]
    _, least_found, least_agreed = EXPECTED[domain]
    assert found >= least_found
    assert agreed >= least_agreed


def test_gold_answers_are_found_in_the_target_format():
    for row in pq.read_table(FILE).slice(0, 19447).to_pylist()[::7]:
        task = EXPECTED[row["domain"]][0]
        labels = ["yes", "no"] if task == "classification" else None
        text = f"{row['rationale'] or ''}\nAnswer: {row['answer']}"
        assert equal(task, extract(task, text, labels, row["question"]), row["answer"])
