"""The domain that a teacher names is read as a person would, and never one that it did not name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldistill.config.domains import DomainsConfig
from baldistill.core.answer_text import fold
from baldistill.generation.types import Message
from baldistill.teacher.domain_names import read_name
from baldistill.teacher.prompts import load_prompts
from baldistill.teacher.question import Answer

NAMES = {"billing": "invoices, refunds", "late delivery": "", "#1": "", "delivery": ""}
READ = {fold(f"{n}: {about}"): n for n, about in NAMES.items()} | {fold(n): n for n in NAMES}


def read(text: str, *, cut: bool = False) -> str | None:
    return read_name(Answer("id", "answered", text, cut=cut), READ)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("billing", "billing"),
        (" Billing.\n", "billing"),
        ("**Late  Delivery**", "late delivery"),
        ("- delivery", "delivery"),
        ("Domain: 'Billing'", "billing"),
        ("The domain is **billing**.", "billing"),
        ("billing: invoices, refunds", "billing"),
        ("It is about money.\n\nbilling", "billing"),
        ("It is about money.\nAnswer: delivery\n", "delivery"),
        ("#1", "#1"),
        ("", None),
        ("returns", None),
        ("billing or delivery", None),
        ("not billing", None),
    ],
)
def test_a_name_is_read_where_it_stands_alone(text: str, name: str | None) -> None:
    assert read(text) == name


def test_an_answer_that_was_cut_off_names_nothing() -> None:
    assert read("delivery", cut=True) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert read(text) in {None, *NAMES}


@given(st.dictionaries(st.text(max_size=20), st.just(""), min_size=2, max_size=6))
def test_each_name_that_a_config_takes_is_read_as_itself(names: dict[str, str]) -> None:
    try:
        names = DomainsConfig.model_validate({"names": names}).names or {}
    except ValueError:
        return
    told = {fold(name): name for name in names}
    assert all(read_name(Answer("id", "answered", n), told) == n for n in names if n.strip())


@pytest.mark.parametrize("prompts", ["instruct", "compact", "examples/prompts/socratic.yaml"])
def test_every_set_asks_for_a_domain(prompts: str) -> None:
    listed = [{"name": "billing", "description": "invoices"}, {"name": "other", "description": ""}]
    prompt = load_prompts(prompts, model="any").render(
        "domain", domain="", question="What do I owe?", names=listed
    )
    assert not isinstance(prompt, str)
    assert prompt[0].role == "system"
    assert isinstance(prompt[1], Message)
    assert prompt[1].content.startswith(
        "The domains:\n- billing: invoices\n- other\n\n<question>\n"
    )
    assert "\n\n<question>\nWhat do I owe?\n</question>\n\nWhich of" in prompt[1].content
