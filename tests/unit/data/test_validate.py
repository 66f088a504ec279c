"""Valid rows and bad rows of a block: together all of them, each with one reason."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from baldistill.config import DataConfig
from baldistill.data.rows import RawBlock, mapped_columns
from baldistill.data.validate import EVALUATION, ROW_BITS, STAGED, TRAIN, check

RULES = DataConfig(max_question_chars=10, max_answer_chars=5)


def block(rows: list[dict[str, Any]], first: int = 1, choices: Any = None) -> RawBlock:
    names = {name: None for row in rows for name in row}
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
    lists = None if choices is None else pa.array(choices, pa.list_(pa.string()))
    return RawBlock(np.arange(first, first + len(rows)), columns, lists)


def row(question: Any = "q", answer: Any = "a", domain: Any = "d", **more: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "domain": domain, **more}


def test_each_problem_has_its_reason() -> None:
    rows = [
        row(),
        row(question=None),
        row(answer=" \n"),
        row(domain="\x00\x07"),
        row(question="x" * 11),
        row(question="  " + "x" * 10 + "  "),
        row(answer="123456"),
        row(question=None, answer=""),
    ]
    staged, bad = check(block(rows, first=5), RULES, "train", 3)
    assert {item.row: item.reason for item in bad} == {
        6: "missing",
        7: "empty",
        8: "empty",
        9: "question_too_long",
        11: "answer_too_long",
        12: "missing",
    }
    assert bad[2].detail == "the domain holds control characters only"
    assert staged["position"].to_pylist() == [(3 << ROW_BITS) | 5, (3 << ROW_BITS) | 10]
    assert staged["question"].to_pylist() == ["q", "x" * 10]


def test_rows_without_gold_answers_are_valid_where_no_column_has_them() -> None:
    config = DataConfig.model_validate({"columns": {"answer": None, "evaluation_answer": "gold"}})
    assert "answer" not in mapped_columns(config, "train")
    assert mapped_columns(config, "evaluation")["answer"] == "gold"
    rows = [{"question": "q", "domain": "d"}, {"question": "r", "domain": "d"}]
    staged, bad = check(block(rows, choices=[["a", "b"], None]), config, "train", 0)
    assert (staged["answer"].to_pylist(), bad) == (["", ""], [])
    assert staged["question"].to_pylist() == ["q\nA) a\nB) b", "r"]


def test_split_names() -> None:
    names = ["train", "Train ", "TEST", "eval", "validation", "valid", "dev", "evaluation", "x"]
    rows = [row(question=str(i), split=name) for i, name in enumerate(names)]
    staged, bad = check(block(rows), RULES, "train", 0)
    assert staged["role"].to_pylist() == [TRAIN] * 2 + [EVALUATION] * 6
    assert [(item.row, item.reason) for item in bad] == [(9, "unknown_split")]


def test_keys_tell_roles_domains_and_choices_apart() -> None:
    same = check(block([row(), row(" q\r"), row(domain="e"), row("Q")]), RULES, "train", 0)[0]
    assert len(set(same["key"].to_pylist())) == 3
    assert len(set(same["question_key"].to_pylist())) == 2
    assert same["id_key"].equals(same["key"])
    held_out = check(block([row()]), RULES, "evaluation", 0)[0]
    assert held_out["key"][0] != same["key"][0]
    assert held_out["question_key"][0] == same["question_key"][0]
    assert held_out["example_id"][0] == same["example_id"][0]
    shown = check(block([row(), row()], choices=[["a", "b"], ["a", "c"]]), RULES, "train", 0)[0]
    assert shown["question"].to_pylist() == ["q\nA) a\nB) b", "q\nA) a\nB) c"]
    assert len(set(shown["key"].to_pylist())) == 2


def test_choices() -> None:
    rows = [row(answer="b"), row(answer="z"), row(answer="z"), row(answer="z")]
    lists = [["x", "y"], ["x", "y"], None, []]
    staged, bad = check(block(rows, choices=lists), RULES, "train", 0)
    assert [(item.row, item.reason) for item in bad] == [(2, "answer_not_in_choices")]
    assert staged["choices"].to_pylist() == [["x", "y"], None, []]


texts = st.one_of(st.none(), st.text(max_size=12))


@given(st.lists(st.tuples(texts, texts, texts), max_size=15))
def test_no_row_is_lost(values: list[tuple[Any, Any, Any]]) -> None:
    rows = [row(*three) for three in values] or [row()]
    staged, bad = check(block(rows), RULES, "train", 0)
    assert staged.schema.equals(STAGED)
    numbers = [position & ((1 << ROW_BITS) - 1) for position in staged["position"].to_pylist()]
    assert sorted([*numbers, *(item.row for item in bad)]) == list(range(1, len(rows) + 1))
    for name in ("question", "answer", "domain"):
        assert all(text.strip() == text != "" for text in staged[name].to_pylist())


def test_a_pattern_finds_the_domain_in_another_column() -> None:
    def checked(pattern: str, ids: list[Any]) -> tuple[list[str], dict[int, str]]:
        domains = {"by": "id", "pattern": pattern}
        rules = DataConfig.model_validate({"columns": {"domain": None}, "domains": domains})
        rows = [{"question": str(i), "answer": "a", "domain": id} for i, id in enumerate(ids)]
        staged, bad = check(block(rows), rules, "train", 0)
        return staged["domain"].to_pylist(), {item.row: item.detail for item in bad}

    nothing = "`id` has nothing that data.domains.pattern matches"
    ids = ["math-1", "law-2", "", "-3", None, "x" * 501]
    assert checked("^([a-z]+)-", ids) == (
        ["math", "law"],
        {3: nothing, 4: nothing, 5: "the domain is missing or null", 6: nothing},
    )
    assert checked("[a-z]+", ["1 law 2", "3"]) == (["law"], {2: nothing})
    assert checked("(a)|b", ["xb", "xa"]) == (["a"], {1: nothing})
    assert checked(r"(\s*)b", ["b"]) == ([], {1: "the domain is empty"})
