"""The prompt files of examples/prompts: every entry renders, and their style of answer is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from baldistill.core.answers import extract
from baldistill.core.label_sets import Labels
from baldistill.generation.types import Message
from baldistill.teacher.parsing import NewExample, Solution, parse_new_example, parse_solution
from baldistill.teacher.prompts import PromptSet, load_prompts

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "prompts"
PATHS = sorted(FOLDER.glob("*.yaml"))
# as the entries `rationale` and `solve` ask for it
RATIONALES = {
    "socratic": "Q: How many are left of 9, if 2 go?\nA: 9 - 2 = 7.\n"
    "Q: And if 3 come?\nA: 7 + 3 = 10. That is the answer: 10.",
    "teacherlm": "Fundamentals: Who goes is taken away.\n"
    "Reasoning: 9 - 2 = 7, and 7 + 3 = 10.\n"
    "Common mistakes: Adding both; the answer is then 14.",
}


def prompts_of(path: Path) -> PromptSet:
    return load_prompts(str(path), model="any")


def text_of(prompts: PromptSet, purpose: str, domain: str, *, structured: bool = False) -> str:
    values = {
        "question": "How many?",
        "answer": "10",
        "demonstrations": [{"question": "How many?", "answer": "10"}],
        "names": [{"name": "sums", "description": "of numbers"}],
    }
    turns = prompts.render(purpose, domain=domain, structured=structured, **values)  # type: ignore[arg-type]
    assert all(isinstance(turn, Message) for turn in turns)
    return "\n".join(turn.content for turn in turns if isinstance(turn, Message))


def test_there_is_an_answer_of_each_file() -> None:
    assert [path.stem for path in PATHS] == sorted(RATIONALES)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_entry_renders_with_and_without_labels(path: Path) -> None:
    prompts = prompts_of(path).with_labels(Labels({"news": ("acq", "earn")}))
    for purpose in prompts.templates:
        for domain in ("sums", "news"):
            text = text_of(prompts, purpose, domain)
            assert "How many?" in text
            assert "{" not in text
            shows = domain == "news" and purpose not in ("synthesis", "domain")
            assert ("acq, earn" in text) == shows
    assert "JSON" in text_of(prompts, "synthesis", "sums", structured=True)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_student_of_both_is_asked_for_a_rationale_of_the_files_own_form(path: Path) -> None:
    both = prompts_of(path).for_target("both")
    asked = text_of(both, "explain", "sums")
    starts = {line.partition(":")[0] for line in RATIONALES[path.stem].splitlines()}
    assert starts
    assert all(f'"{start}: ..."' in asked for start in starts)
    assert '"Answer: "' not in asked, "an explanation is the rationale alone"
    assert '"Answer: "' in text_of(both, "student", "sums")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
@pytest.mark.parametrize("last", ["Answer: 10", "**Answer:** 10", "\nAnswer: 10\n"])
def test_an_answer_in_its_style_is_a_rationale_and_a_conclusion(path: Path, last: str) -> None:
    rationale = RATIONALES[path.stem]
    text = f"{rationale}\n{last}"
    assert parse_solution(text) == Solution(rationale, "10")
    assert extract("math", text) == "10"
    new = f"Question: How many?\nRationale: {text}"
    assert parse_new_example(new) == NewExample("How many?", rationale, "10")
