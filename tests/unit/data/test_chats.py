"""Chats become questions with a context, whatever the form of their turns and files."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from baldistill.config import Columns, DataConfig
from baldistill.data.chats import with_chats
from baldistill.data.csv_records import csv_blocks
from baldistill.data.json_lines import parse_lines
from baldistill.data.parquet_rows import parquet_blocks
from baldistill.data.recipes.make import as_source
from baldistill.data.rows import BadRow, RawBlock, mapped_columns
from baldistill.data.validate import check, place_of, row_of
from baldistill.records import EXAMPLES, as_rows_of

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hello. What is it?"},
    {"role": "user", "content": " What is 1 + 1?\r\n"},
    {"role": "assistant", "content": "2"},
]
RENAMED = {"user": "human", "assistant": "gpt"}
SHAREGPT = [{"from": RENAMED.get(t["role"], t["role"]), "value": t["content"]} for t in CHAT]
PARTS = [{**t, "content": [{"type": "text", "text": t["content"]}]} for t in CHAT]


def config(**columns: Any) -> DataConfig:
    return DataConfig(columns=Columns(messages="chat", **columns))


def read(rows: list[Any], data: DataConfig) -> tuple[list[dict[str, Any]], list[BadRow]]:
    """Rows of JSON lines, checked: what is staged, and what is bad."""
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return checked(list(parse_lines(text, 1, mapped_columns(data, "train"))), data)


def checked(blocks: list[RawBlock], data: DataConfig) -> tuple[list[dict[str, Any]], list[BadRow]]:
    staged: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    for block in blocks:
        table, some = check(with_chats(block, data, "train"), data, "train", 0)
        staged += table.to_pylist()
        bad += some
    return staged, bad


@pytest.mark.parametrize("chat", [CHAT, SHAREGPT, PARTS, json.dumps(CHAT), json.dumps(SHAREGPT)])
def test_forms_of_a_chat(chat: Any) -> None:
    (row,), bad = read([{"chat": chat, "domain": "d"}], config())
    assert not bad
    assert (row["question"], row["answer"]) == ("What is 1 + 1?", "2")
    assert row["context"] == CHAT[:3]


def test_files_of_every_format_say_the_same() -> None:
    data = config()
    columns = mapped_columns(data, "train")
    rows = [{"chat": CHAT, "domain": "d"}, {"chat": CHAT[1:3], "domain": "d"}]
    rows.append({"chat": CHAT[:2], "domain": "d"})
    expected = read(rows, data)
    assert len(expected[0]) == 2
    sink, text = io.BytesIO(), io.StringIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    writer = csv.writer(text)
    writer.writerows(
        [("domain", "chat"), *((row["domain"], json.dumps(row["chat"])) for row in rows)]
    )
    for blocks in (
        parquet_blocks(pq.ParquetFile(sink), [0], 1, columns),
        csv_blocks(io.BytesIO(text.getvalue().encode()), ",", columns),
    ):
        staged, bad = checked(list(blocks), data)
        assert staged == expected[0]
        assert [(b.row, b.reason, b.detail) for b in bad] == [
            (b.row, b.reason, b.detail) for b in expected[1]
        ]


@pytest.mark.parametrize(
    ("chat", "reason", "words"),
    [
        (None, "missing", "missing or null"),
        ("What is it?", "malformed_chat", "a text that is no JSON"),
        ({"messages": CHAT}, "malformed_chat", "no list of turns but an object"),
        ([], "empty", "without turns"),
        (["Hello"], "malformed_chat", "turn 1 is a text"),
        ([{"role": "user"}], "malformed_chat", "neither role and content nor from and value"),
        ([{"role": "tool", "content": "3"}], "malformed_chat", "'tool'"),
        (
            [{"role": "user", "content": None}],
            "malformed_chat",
            "turn 1 (user) has no text but a null",
        ),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "malformed_chat", "no text"),
        (CHAT[1:2] * 2, "malformed_chat", "turn 2 is the user's where the assistant's should be"),
        (CHAT[2:], "malformed_chat", "turn 1 is the assistant's"),
        ([*CHAT, CHAT[0]], "malformed_chat", "turn 6 is the system's"),
        (CHAT[:1], "malformed_chat", "without a turn of the user"),
        (
            [{"role": "user", "content": "\u200b"}, *CHAT[2:3]],
            "empty",
            "a turn of the user is empty",
        ),
        (CHAT[:4], "missing", "ends with the user"),
        ([{"role": "user", "content": "\ud800"}, *CHAT[2:3]], "invalid_utf8", "surrogate"),
        ([*CHAT[:3], {"role": "user", "content": "x" * 100}, CHAT[4]], "question_too_long", "100"),
    ],
)
def test_what_is_no_chat_has_its_reason(chat: Any, reason: str, words: str) -> None:
    data = config().model_copy(update={"max_question_chars": 100})
    good = {"chat": CHAT[1:3], "domain": "d"}
    staged, bad = read([good, {"chat": chat, "domain": "d"}, good], data)
    assert [(item.row, item.reason) for item in bad] == [(2, reason)]
    assert words in bad[0].detail
    assert len(staged) == 2


texts = st.text("ab \n", min_size=1, max_size=3).map(lambda text: f"x{text}".strip())
exchanges = st.lists(st.tuples(texts, texts), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.booleans(), exchanges, st.booleans()), min_size=1, max_size=5))
def test_each_turn_of_the_assistant_is_an_example(chats: list[Any]) -> None:
    rows = []
    for has_system, pairs, is_open in chats:
        turns = [{"role": "system", "content": "s"}] if has_system else []
        for asked, said in pairs:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        rows.append([*turns, {"role": "user", "content": "?"}] if is_open else turns)
    staged, bad = read([{"chat": c, "domain": "d"} for c in rows], config(each_turn=True))
    assert not bad
    assert len(staged) == sum(len(pairs) for _, pairs, _ in chats)
    positions = np.array([row["position"] for row in staged])
    assert len(set(positions)) == len(staged)
    assert [place_of(int(p)) for p in positions] == [(0, int(row)) for row in row_of(positions)]
    for row in staged:
        said = {"role": "assistant", "content": row["answer"]}
        shown = [*(row["context"] or []), {"role": "user", "content": row["question"]}, said]
        chat = rows[place_of(row["position"])[1] - 1]
        assert chat[: len(shown)] == shown
    # turns are named alike where, and only where, their chats are alike
    chat_of = {row["example_id"].rpartition("-")[0]: place_of(row["position"])[1] for row in staged}
    assert len(chat_of) == len({json.dumps(chat) for chat in rows})


def test_another_context_makes_another_question() -> None:
    other = [{"role": "user", "content": "Hi"}, *CHAT[2:]]
    staged, _ = read([{"chat": c, "domain": "d"} for c in (CHAT, other, CHAT)], config())
    for name in ("example_id", "key", "question_key"):
        first, second, third = (row[name] for row in staged)
        assert first == third != second


def test_the_answer_may_stand_in_a_column_of_its_own() -> None:
    rows = [{"chat": chat, "a": ["two", "2"], "domain": "d"} for chat in (CHAT, CHAT[:4])]
    staged, bad = read(rows, config(answer="a"))
    assert not bad
    for row in staged:
        assert (row["answer"], row["alternatives"]) == ("two", ["2"])
        assert (row["question"], row["context"]) == ("What is 1 + 1?", CHAT[:3])


def test_a_corpus_that_was_read_can_be_written_and_read_again() -> None:
    rows = [{"chat": chat, "a": ["two", "2"], "domain": "d"} for chat in (CHAT, CHAT[1:2])]
    data = config(answer="a", id=None)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (block,) = parse_lines(text, 1, mapped_columns(data, "train"))
    table, _ = check(with_chats(block, data, "train"), data, "train", 0)
    corpus = as_rows_of(EXAMPLES, table)
    (batch,) = corpus.to_batches()
    again = DataConfig(columns=Columns(messages="messages", answer="answer", id="example_id"))
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_batches([as_source(batch)]), sink)
    blocks = parquet_blocks(pq.ParquetFile(sink), [0], 1, mapped_columns(again, "train"))
    (block,) = (with_chats(block, again, "train") for block in blocks)
    assert as_rows_of(EXAMPLES, check(block, again, "train", 0)[0]).equals(corpus)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"each_turn": True}, "name their column as messages"),
        ({"messages": "chat", "question": "q"}, "leave question=q out"),
        ({"messages": "chat", "each_turn": True, "answer": "a"}, "leave answer=a out"),
    ],
)
def test_options_that_contradict_each_other(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Columns(**columns)


def test_a_dump_reads_back() -> None:
    for columns in (Columns(), Columns(messages="m"), Columns(messages="m", answer="a")):
        assert Columns(**columns.model_dump(mode="json")) == columns
    assert "messages" not in Columns().model_dump()
