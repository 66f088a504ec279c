"""`baldistill ask`: the student of a run at a prompt, by option with its teacher beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from baldistill.cli import options
from baldistill.cli.options import Json, Run, print_json
from baldistill.errors import UserError
from baldistill.visible import visible, visible_lines

if TYPE_CHECKING:
    from baldistill.commands.ask import RunStudent, Turn
    from baldistill.commands.ask_teacher import RunTeacher


def ask(
    run: Run,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUESTION]",
            help="One question; without it, each line of standard input is one.",
            show_default=False,
        ),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option("--domain", help="Of the questions, where the student is told it."),
    ] = None,
    stage: Annotated[
        int | None,
        typer.Option("--stage", min=1, help="Whose student (default: the last's)."),
    ] = None,
    teacher: Annotated[
        bool,
        typer.Option("--teacher", help="Also show the teacher's answer; its calls are paid."),
    ] = False,
    store: options.Store = None,
    address: options.Address = None,
    as_json: Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask the student of a run, as its evaluations do."""
    from baldistill.commands.ask import RunStudent

    if store is not None and not teacher:
        raise UserError("--store holds answers of the teacher: it belongs to --teacher")
    student = RunStudent(run, stage=stage)
    with ExitStack() as stack:
        beside = None
        if teacher:
            from baldistill.commands.ask_teacher import opened_teacher

            _say_where_keys_go(run)
            beside = stack.enter_context(
                opened_teacher(run, store=store, address=address, verbose=verbose)
            )
        prompt = _Prompt(student, beside, domain, run, as_json)
        if question is not None:
            prompt.answer(question)
            return
        at_terminal = sys.stdin.isatty()
        for text in _lines(student, at_terminal):
            if text.strip():
                prompt.answer(text, in_chat=at_terminal and student.chats)
            elif at_terminal:
                prompt.chat.clear()


class _Prompt:
    """Shows replies. At a terminal, `chat` holds the turns so far."""

    def __init__(
        self,
        student: RunStudent,
        teacher: RunTeacher | None,
        domain: str | None,
        run: str,
        as_json: bool,
    ) -> None:
        self._student, self._teacher = student, teacher
        self._domain, self._run, self._as_json = domain, run, as_json
        self.chat: list[Turn] = []

    def answer(self, question: str, *, in_chat: bool = False) -> None:
        """Ask, and show what comes."""
        student, teacher, domain = self._student, self._teacher, self._domain
        on_text = None if self._as_json else _show
        if teacher is not None:
            self._say("--- the student")
        reply = student.ask(question, domain=domain, context=self.chat, on_text=on_text)
        self._say_answer(reply.text, reply.answer)
        found = {"run_dir": self._run, "stage": student.stage, **asdict(reply)}
        if teacher is not None:
            known = student.domain_of(question, domain)
            other = teacher.ask(question, domain=known, context=self.chat)
            self._say("--- the teacher")
            if other.reason is not None:
                self._say(f"[no answer: {other.reason}]")
            else:
                self._say(other.text, end="")
                self._say_answer(other.text, other.answer)
            found["teacher"] = asdict(other)
        print_json(self._as_json, found)
        if in_chat:
            self.chat += student.remembered(reply)

    def _say_answer(self, text: str, answer: str | None) -> None:
        found = "no answer was found" if answer is None else f"answer: {visible(answer)}"
        self._say(("" if text.endswith("\n") else "\n") + f"[{found}]")

    def _say(self, text: str, end: str = "\n") -> None:
        if not self._as_json:
            typer.echo(visible_lines(text) + end, nl=False)


def _show(part: str) -> None:
    typer.echo(visible_lines(part), nl=False)


def _say_where_keys_go(run: str) -> None:
    """Tell which servers the folder's config sends keys to, as `run` does."""
    from baldistill.config.loading import load_config
    from baldistill.run_folder import layout
    from baldistill.storage import Storage

    folder = Storage.open(run)
    options.say_where_keys_go(folder, load_config(folder.uri_of(layout.CONFIG)))


def _lines(student: RunStudent, at_terminal: bool) -> Iterator[str]:
    """Yield the lines of standard input; at a terminal, ask for each."""
    if at_terminal:
        chat = "; an empty line begins a new chat" if student.chats else ""
        typer.echo(f"the student of stage {student.stage}{chat}; Ctrl-D ends", err=True)
    while True:
        try:
            yield input("> " if at_terminal else "")
        except (EOFError, KeyboardInterrupt):
            return
