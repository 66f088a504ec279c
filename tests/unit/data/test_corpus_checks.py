"""Corpora that cannot be used: what is said."""

from __future__ import annotations

import pytest

from baldistill.config import DataConfig
from baldistill.data.corpus_checks import check_domain_tasks
from baldistill.data.summary import CorpusSummary
from baldistill.errors import DataError

SUMMARY = CorpusSummary(5, {"billing": 2, "shipping": 1}, {"billing": 2}, {}, 0, [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("billling", r"names 'billling', .*did you mean 'billing'\? There are: billing, shipping"),
        ("zzz", r"names 'zzz', and no training row is of that domain; There are: billing"),
    ],
)
def test_a_task_for_a_domain_that_is_not_there(name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_domain_tasks(SUMMARY, DataConfig(domain_tasks={"shipping": "qa", name: "math"}))


def test_tasks_for_domains_that_are_there() -> None:
    check_domain_tasks(SUMMARY, DataConfig(domain_tasks={"shipping": "qa", "billing": "math"}))
