from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from baldistill.bundled import model_dir
from baldistill.errors import UserError
from baldistill.generation.encoding import (
    context_token,
    encode_prompt,
    encode_text,
    start_tokens,
    truncate_left,
)
from baldistill.generation.types import Message
from tests.unit.generation.conftest import save_variant

CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
TURNS = (Message("system", "Be brief."), Message("user", "What is 1 plus 2?"))


def loaded(folder: Path, **options: Any) -> Any:
    return AutoTokenizer.from_pretrained(save_variant(folder, **options))


def test_a_text_gets_one_beginning(tokenizer: Any) -> None:
    ids = encode_prompt(tokenizer, "Question: 1\n")
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids[1:]) == "Question: 1\n"


def test_prompt_and_target_encode_apart_as_together(tokenizer: Any, questions: list[str]) -> None:
    for question in questions:
        target = "First 1, then 2.\nAnswer: 3"
        apart = encode_prompt(tokenizer, question) + encode_text(tokenizer, target)
        assert apart == encode_prompt(tokenizer, question + target)


def test_a_chat_goes_through_the_template_without_doubled_special_tokens(tmp_path: Path) -> None:
    tokenizer = loaded(tmp_path, bos="<bos>", chat_template=CHAT)
    ids = encode_prompt(tokenizer, TURNS)
    assert tokenizer.decode(ids) == (
        "<bos><system>Be brief.<eos><user>What is 1 plus 2?<eos><assistant>"
    )
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids.count(tokenizer.eos_token_id) == 2


def test_a_template_gets_its_variables(tmp_path: Path) -> None:
    thinks = "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    tokenizer = loaded(tmp_path, bos="<bos>", chat_template=NO_SYSTEM + CHAT + thinks)
    assert tokenizer.decode(encode_prompt(tokenizer, TURNS)).endswith("<assistant><think>")
    quiet = {"enable_thinking": False, "add_generation_prompt": False}  # the second is ours to say
    assert tokenizer.decode(encode_prompt(tokenizer, TURNS, quiet)).endswith("<assistant>")


def test_a_template_without_system_turn_gets_its_text_in_the_first_other(tmp_path: Path) -> None:
    tokenizer = loaded(tmp_path, bos="<bos>", chat_template=NO_SYSTEM + CHAT)
    text = tokenizer.decode(encode_prompt(tokenizer, TURNS))
    assert text == "<bos><user>Be brief.\n\nWhat is 1 plus 2?<eos><assistant>"


def test_a_template_that_refuses_a_prompt_is_a_user_error(tmp_path: Path) -> None:
    tokenizer = loaded(tmp_path, chat_template="{{ raise_exception('never') }}")
    with pytest.raises(UserError, match="chat template does not take a prompt: never"):
        encode_prompt(tokenizer, TURNS)


def test_a_base_model_reads_a_chat_as_plain_text(tokenizer: Any) -> None:
    ids = encode_prompt(tokenizer, TURNS)
    assert tokenizer.decode(ids[1:]) == "Be brief.\n\nWhat is 1 plus 2?\n"


def test_without_bos_nothing_is_put_before_a_prompt(tmp_path: Path) -> None:
    tokenizer = loaded(tmp_path)
    assert start_tokens(tokenizer) == []
    assert context_token(tokenizer) == tokenizer.eos_token_id
    assert tokenizer.decode(encode_prompt(tokenizer, "Question: 1\n")) == "Question: 1\n"


def test_a_tokenizer_without_special_tokens_cannot_start_a_text() -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_dir("student"))
    tokenizer.bos_token = tokenizer.eos_token = tokenizer.pad_token = None
    with pytest.raises(UserError, match="no bos, eos or pad"):
        context_token(tokenizer)


@pytest.mark.parametrize(
    ("tokens", "limit", "start", "kept"),
    [
        ([1, 5, 6, 7], 4, [1], [1, 5, 6, 7]),
        ([1, 5, 6, 7], 3, [1], [1, 6, 7]),
        ([1, 5, 6, 7], 1, [1], [1]),
        ([5, 6, 7], 2, [], [6, 7]),
        ([4, 5, 6, 7], 2, [1], [6, 7]),  # a template may leave the bos token out
    ],
)
def test_truncation_keeps_the_end_and_the_beginning_token(
    tokens: list[int], limit: int, start: list[int], kept: list[int]
) -> None:
    assert truncate_left(tokens, limit, start) == kept


def test_a_base_model_reads_who_speaks_where_the_assistant_has_spoken(tokenizer: Any) -> None:
    chat = (*TURNS, Message("assistant", "3"), Message("user", "And 2 plus 2?"))
    assert tokenizer.decode(encode_prompt(tokenizer, chat)[1:]) == (
        "System: Be brief.\n\nUser: What is 1 plus 2?\n\nAssistant: 3\n\nUser: And 2 plus 2?\n\n"
        "Assistant:\n"
    )
