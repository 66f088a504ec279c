"""The example package of parts of one's own, installed as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from baldistill.core.answers import marked_answer
from baldistill.core.own_filter import TeacherAnswer


class Words:
    """A task type that Ray's workers can import: answers are the same words in any case."""

    def extract(self, text: str, choices: object, question: object) -> str | None:
        return marked_answer(text)

    def equal(self, a: str, b: str) -> bool:
        return a.strip().lower() == b.strip().lower()


class Failing(Words):
    """A task type with a defect in what Ray's workers call."""

    def extract(self, text: str, choices: object, question: object) -> str | None:
        raise KeyError("no such key")


class EvenAnswers:
    """A filter of even numbers that notes what it was asked about."""

    seen: ClassVar[list[str]] = []

    def fault(self, answer: TeacherAnswer) -> str | None:
        self.seen.append(answer.question)
        return "odd" if int(answer.answer) % 2 else None


PLUGIN = Path(__file__).resolve().parents[1] / "examples" / "plugin"


def install_plugin(folder: Path) -> Path:
    """Let pip install it into a new folder, without any network; return that folder."""
    source, target = folder / "source", folder / "site"
    shutil.copytree(PLUGIN, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target"]
    command = [sys.executable, "-m", "pip", "install", *options, str(target), str(source)]
    subprocess.run(command, check=True, env=os.environ | {"PIP_NO_INPUT": "1"})
    return target
