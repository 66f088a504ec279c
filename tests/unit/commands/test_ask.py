"""`baldistill ask`: the student of a run says what it says in an evaluation."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from runs import FINISHED, mistake

import baldistill
from baldistill.bundled import model_dir
from baldistill.cli import app
from baldistill.config.loading import dump_config, load_config
from baldistill.core.answers import extract
from baldistill.generation.transformers import TransformersEngine
from baldistill.generation.types import ModelRef, Prompt, Request, Sampling
from baldistill.teacher.prompts import load_prompts

QUESTIONS = ("What is 12 plus 30?", "Write the letters of dog backwards.", "Ann is 3. How old?")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two stages; its second student is a model that can write."""
    run = tmp_path_factory.mktemp("ask") / "run"
    shutil.copytree(FINISHED, run)
    config = run / "config.yaml"
    config.write_text(re.sub(r"max_new_tokens: \d+", "max_new_tokens: 96", config.read_text()))
    shutil.copytree(model_dir("teacher"), run / "stages/02/student", dirs_exist_ok=True)
    return run


def answers(prompts: list[Prompt]) -> list[str]:
    """What that student answers in an evaluation."""
    engine = TransformersEngine()
    engine.load(ModelRef("bundled-teacher"))
    requests = [Request(str(n), prompt) for n, prompt in enumerate(prompts)]
    return [answer.text for answer in engine.generate(requests, Sampling(96))]


def evaluated(questions: tuple[str, ...]) -> list[str]:
    """What an evaluation of that student would read."""
    prompts = load_prompts("compact", model="bundled")
    return answers(
        [prompts.render("student", question=text, domain="addition") for text in questions]
    )


def test_a_reply_is_that_of_an_evaluation_and_comes_in_parts(run: Path) -> None:
    student = baldistill.RunStudent(run)
    assert student.stage == 2
    wanted = evaluated(QUESTIONS)
    assert all(wanted)
    for question, text in zip(QUESTIONS, wanted, strict=True):
        parts: list[str] = []
        reply = student.ask(question, on_text=parts.append)
        assert reply.text == "".join(parts) == text
        assert reply.answer == extract("free_text", text, None, question)
        assert len(parts) > 1


def test_each_line_of_the_input_is_a_question(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([QUESTIONS[0], "", QUESTIONS[1]])))
    app(["ask", str(run), "--json"], standalone_mode=False)
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [reply["question"] for reply in replies] == list(QUESTIONS[:2])
    assert [reply["text"] for reply in replies] == evaluated(QUESTIONS[:2])
    assert {reply["stage"] for reply in replies} == {2}


def test_at_a_terminal_a_chat_goes_on_until_an_empty_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = run.parent / "chats"
    shutil.copytree(run, other)
    columns = "{messages: turns, question: turns, answer: turns, each_turn: true}"
    config = load_config(other / "config.yaml", [f"data.columns={columns}"])
    (other / "config.yaml").write_text(dump_config(config))
    lines = iter([QUESTIONS[0], QUESTIONS[1], " ", QUESTIONS[1]])

    def typed(prompt: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", typed)
    app(["ask", str(other), "--json"], standalone_mode=False)
    first, second, anew = map(json.loads, capsys.readouterr().out.splitlines())
    alone = evaluated(QUESTIONS[:2])
    assert [first["text"], anew["text"]] == alone
    before = [
        {"role": "user", "content": QUESTIONS[0]},
        {"role": "assistant", "content": first["answer"]},
    ]
    prompts = load_prompts("compact", model="bundled")
    chat = prompts.render("student", question=QUESTIONS[1], domain="addition", context=before)
    assert second["text"] == answers([chat])[0] != alone[1]


def test_a_chat_that_is_too_long_loses_its_oldest_turns(run: Path) -> None:
    student = baldistill.RunStudent(run)
    assert not student.chats, "a model without a chat template, and a corpus of questions"
    exchange = [
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "That. " * 40},
    ]
    context = exchange * 200
    asked = student.ask(QUESTIONS[0], context=context)
    found = [student.ask(QUESTIONS[0], context=exchange * n) for n in range(12)]
    assert asked in found[1:], "some turns are left, and no turn lost its beginning"
    assert asked != found[0]


def test_what_a_terminal_shows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["ask", str(run), QUESTIONS[0]], standalone_mode=False)
    (text,) = evaluated(QUESTIONS[:1])
    shown = capsys.readouterr().out
    assert shown.startswith(text)
    answer = extract("free_text", text, None, QUESTIONS[0])
    assert shown.splitlines()[-1] == f"[answer: {answer}]"


def test_what_a_user_can_mend(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = mistake(capsys, "ask", str(run), "x", "--domain", "nope")
    assert "--domain 'nope' is none of the corpus: addition" in said
    said = mistake(capsys, "ask", str(run), "x", "--stage", "7")
    assert "--stage 7" in said
    assert "students of stages 1, 2" in said
    assert "no run folder" in mistake(capsys, "ask", str(tmp_path), "x")
    assert "cannot load the model" in mistake(capsys, "ask", str(run), "x", "--stage", "1")
    prompts = (Path(baldistill.__file__).parent / "teacher/prompts/compact.yaml").read_text()
    own = tmp_path / "prompts.yaml"
    own.write_text(prompts.replace("{{ question }}", "{{ domain }} {{ question }}"))
    other = tmp_path / "other"
    shutil.copytree(run, other)
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("prompts: auto", f"prompts: {own}"))
    assert "name the question's with --domain" in mistake(capsys, "ask", str(other), "x")


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    app(["--version"], standalone_mode=False)
    assert capsys.readouterr().out == f"baldistill {baldistill.__version__}\n"
