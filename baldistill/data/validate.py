"""Check rows, block by block: every row is valid or bad."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from baldistill.config import DataConfig, DomainsConfig
from baldistill.data.chats import CHAT, MAX_TURNS
from baldistill.data.choices import check_choices, show_choices
from baldistill.data.gold_answers import ALTERNATIVES, clean, longest
from baldistill.data.rows import BadRow, RawBlock, Reason
from baldistill.data.sources import Role
from baldistill.data.text import BLANK, example_ids, keys, normalise
from baldistill.records import EXAMPLES, OPTIONAL, transcript

TRAIN, EVALUATION = 0, 1
"""Values of `role` in the staged table."""

STAGED = pa.schema(
    [
        *EXAMPLES,
        pa.field("position", pa.int64(), nullable=False),  # see `place_of`
        pa.field("role", pa.int8(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),  # of role, domain and question
        pa.field("id_key", pa.uint64(), nullable=False),  # of role and the user's id
        pa.field("question_key", pa.uint64(), nullable=False),
        *OPTIONAL,
    ]
)
"""The columns of valid rows between reading and the final files."""

ROW_BITS = 42
TURN_BITS = MAX_TURNS.bit_length() - 1
_TURN_SHIFT = ROW_BITS - TURN_BITS
MAX_FILES = 1 << (63 - ROW_BITS)
_EVALUATION_NAMES = ("test", "eval", "evaluation", "validation", "valid", "dev")
_TRAIN_NAMES = ("train", "training")
_MAX_NAME_CHARS = 500


@dataclass(slots=True)
class _Verdicts:
    """The first problem found with each row of a block; rows without one are open."""

    found: dict[int, tuple[Reason, str]]
    is_open: npt.NDArray[np.bool_]

    def mark(self, where: pa.Array, reason: Reason, detail: str) -> None:
        mask = pc.fill_null(where, False).to_numpy(zero_copy_only=False)
        for index in np.flatnonzero(mask & self.is_open):
            self.mark_row(int(index), reason, detail)

    def mark_row(self, index: int, reason: Reason, detail: str) -> None:
        self.found[index] = reason, detail
        self.is_open[index] = False


def row_of(position: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the positions of rows: the same for all examples of a chat.

    A position is the file's index, the example's place in its chat (0 where a row is one example)
    and the 1-based row: 21, 10 and 32 bits.
    """
    turn = np.int64((MAX_TURNS - 1) << _TURN_SHIFT)
    return position & ~turn


def place_of(position: int) -> tuple[int, int]:
    """Return the index of the file and the number of the row."""
    return divmod(int(row_of(np.array(position, np.int64))), 1 << ROW_BITS)


def check(
    block: RawBlock, config: DataConfig, role: Role, file_index: int
) -> tuple[pa.Table, list[BadRow]]:
    """Divide all rows of a block into valid rows (STAGED) and bad rows."""
    columns, good, bad = divide(block, config)
    choices = None if block.choices is None else block.choices.take(pa.array(good))
    position = (np.int64(file_index) << ROW_BITS) | block.rows[good].astype(np.int64)
    turns = None if block.turns is None else block.turns[good]
    if turns is not None:
        position |= turns << _TURN_SHIFT
    return _staged(columns, choices, position, turns, role), bad


def divide(
    block: RawBlock, config: DataConfig
) -> tuple[dict[str, pa.Array], npt.NDArray[np.int64], list[BadRow]]:
    """Return the valid rows of a block, normalised, with their indices, and all its bad rows."""
    columns = {name: normalise(column) for name, column in block.columns.items()}
    verdicts = _Verdicts({}, np.ones(len(block.rows), np.bool_))
    if config.domains is not None and config.domains.pattern is not None:
        columns["domain"] = _by_pattern(columns["domain"], config.domains, verdicts)
    _check_texts(columns, config, verdicts)
    if ALTERNATIVES in block.extra:
        columns[ALTERNATIVES] = clean(block.extra[ALTERNATIVES], columns["answer"])
        _check_alternatives(columns[ALTERNATIVES], config, verdicts)
    if "context" in block.extra:
        columns["context"] = block.extra["context"]
        _check_context(columns, config, verdicts)
    if block.choices is not None:
        columns["question"] = _check_choices(columns, block.choices, verdicts)
    good = np.flatnonzero(verdicts.is_open)
    bad = [
        BadRow(int(block.rows[index]), reason, detail, block.content(index))
        for index, (reason, detail) in sorted(verdicts.found.items())
    ]
    assert len(good) + len(bad) == len(block.rows)
    columns = {name: column.take(pa.array(good)) for name, column in columns.items()}
    return columns, good, [*block.bad, *bad]


def _by_pattern(column: pa.Array, rule: DomainsConfig, verdicts: _Verdicts) -> pa.Array:
    """Return the domain that the rule finds in each text; null where it finds none."""
    pattern = re.compile(rule.pattern or "")
    matches = [None if text is None else pattern.search(text) for text in column.to_pylist()]
    found = pa.array([match and match[min(pattern.groups, 1)] for match in matches], pa.string())
    missing = pc.and_(pc.is_valid(column), pc.is_null(found))
    verdicts.mark(missing, "missing", f"`{rule.by}` has nothing that data.domains.pattern matches")
    return normalise(found)


def _check_texts(columns: dict[str, pa.Array], config: DataConfig, verdicts: _Verdicts) -> None:
    limits: dict[str, tuple[int, Reason]] = {
        "question": (config.max_question_chars, "question_too_long"),
        "answer": (config.max_answer_chars, "answer_too_long"),
        "domain": (_MAX_NAME_CHARS, "domain_too_long"),
        "id": (_MAX_NAME_CHARS, "id_too_long"),
    }
    for name, column in columns.items():
        verdicts.mark(pc.is_null(column), "missing", f"the {name} is missing or null")
        blank = pc.match_substring_regex(column, BLANK)
        length = pc.utf8_length(column)
        verdicts.mark(pc.equal(length, 0), "empty", f"the {name} is empty")
        verdicts.mark(blank, "empty", f"the {name} holds control characters only")
        if name in limits:
            limit, reason = limits[name]
            detail = f"the {name} has more than {limit} characters"
            verdicts.mark(pc.greater(length, limit), reason, detail)
    if "split" in columns:
        names = pa.array([*_EVALUATION_NAMES, *_TRAIN_NAMES])
        unknown = pc.invert(pc.is_in(pc.utf8_lower(columns["split"]), names))
        allowed = f"train, {', '.join(_EVALUATION_NAMES)}"
        verdicts.mark(unknown, "unknown_split", f"the split is none of {allowed}")


def _check_alternatives(alternatives: pa.Array, config: DataConfig, verdicts: _Verdicts) -> None:
    limit = config.max_answer_chars
    too_long = pa.array([longest(texts) > limit for texts in alternatives.to_pylist()], pa.bool_())
    detail = f"an acceptable answer has more than {limit} characters"
    verdicts.mark(too_long, "answer_too_long", detail)


def _check_context(columns: dict[str, pa.Array], config: DataConfig, verdicts: _Verdicts) -> None:
    limit = config.max_question_chars
    asked = zip(columns["context"].to_pylist(), columns["question"].to_pylist(), strict=True)
    lengths = [sum(len(t["content"]) for t in before or ()) + len(q or "") for before, q in asked]
    detail = f"the chat up to its question has more than {limit} characters"
    verdicts.mark(pc.greater(pa.array(lengths), limit), "question_too_long", detail)


def _check_choices(
    columns: dict[str, pa.Array], choices: pa.Array, verdicts: _Verdicts
) -> pa.Array:
    """Check the answers against the choices; return the questions with the choices shown."""
    questions, lists = columns["question"].to_pylist(), choices.to_pylist()
    answers = columns["answer"].to_pylist() if "answer" in columns else [None] * len(lists)
    further = columns[ALTERNATIVES].to_pylist() if ALTERNATIVES in columns else [None] * len(lists)
    for index in np.flatnonzero(verdicts.is_open):
        if not lists[index]:
            continue
        accepted = [answers[index], *(further[index] or ())]
        problem = next(filter(None, (check_choices(a, lists[index]) for a in accepted)), None)
        if problem is None:
            questions[index] = show_choices(questions[index], lists[index])
        else:
            verdicts.mark_row(int(index), "answer_not_in_choices", problem)
    return normalise(pa.array(questions, pa.string()))


def _staged(
    columns: dict[str, pa.Array],
    choices: pa.Array | None,
    position: npt.NDArray[np.int64],
    turns: npt.NDArray[np.int64] | None,
    role: Role,
) -> pa.Table:
    num_rows = len(position)
    # without a column of domains, `made_domains` gives each row its domain later
    domain = columns.get("domain", pa.array([""] * num_rows, pa.string()))
    domains, questions = domain.to_pylist(), columns["question"].to_pylist()
    if "context" in columns:  # another context makes the same words another question
        before = columns["context"].to_pylist()
        questions = [transcript(b, q) for b, q in zip(before, questions, strict=True)]
    roles = np.full(num_rows, EVALUATION if role == "evaluation" else TRAIN, np.int8)
    if "split" in columns:
        held_out = pc.is_in(pc.utf8_lower(columns["split"]), pa.array(_EVALUATION_NAMES))
        roles[held_out.to_numpy(zero_copy_only=False)] = EVALUATION
    content_ids = example_ids(domains, questions)
    names = columns["id"].to_pylist() if "id" in columns else content_ids
    if turns is not None:
        chats = names if "id" in columns else example_ids(domains, columns[CHAT].to_pylist())
        names = [f"{chat}-{turn}" for chat, turn in zip(chats, turns, strict=True)]
    key = _with_role(keys(content_ids, "content"), roles)
    id_key = key
    if "id" in columns:
        id_key = _with_role(keys(names, "id"), roles)
    data = {
        "example_id": names,
        "domain": domain,
        "question": columns["question"],
        "answer": columns.get("answer", pa.array([""] * num_rows, pa.string())),
        "choices": pa.nulls(num_rows, pa.list_(pa.string())) if choices is None else choices,
        "position": position,
        "role": roles,
        "key": key,
        "id_key": id_key,
        "question_key": keys(questions, "question"),
    }
    for optional in OPTIONAL:
        data[optional.name] = columns.get(optional.name, pa.nulls(num_rows, optional.type))
    return pa.table(data, schema=STAGED)


def _with_role(key: npt.NDArray[np.uint64], roles: npt.NDArray[np.int8]) -> npt.NDArray[np.uint64]:
    """Give the same text different keys in train and in evaluation."""
    return np.where(roles == EVALUATION, ~key, key)
