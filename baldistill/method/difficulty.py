"""A window of difficulty: new examples that the current student solves sometimes (`tail.window`).

SwS (Liang et al. 2025) keeps a new question if 12.5 to 87.5 % of the student's sampled answers are
right: from what it always or never solves it learns little. The student answers for nothing; what
is rejected costs the call that wrote it, and gives its unit of the budget back.

The shares are written as they come, since they decide what the teacher is asked next. A stage that
is done again reads them, and asks the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from baldistill.config import Config
from baldistill.method.context import Context
from baldistill.records import DIFFICULTY, EXAMPLES
from baldistill.run_folder.layout import StageLayout
from baldistill.run_folder.steps import read_marker
from baldistill.student.answer import conclusion_of, mark, respond
from baldistill.student.score import RIGHT, SAMPLE_TEMPERATURE
from baldistill.teacher.parsing import NewExample

TOO_EASY, TOO_HARD = "too easy for the student", "too hard for the student"


def uses_window(config: Config, stage: int) -> bool:
    """Return whether a stage rejects new examples by their difficulty; it needs a student."""
    return config.tail.window is not None and stage > 1


class Difficulty:
    """Measures how often the student before a stage solves the stage's new examples."""

    def __init__(self, context: Context, stage: int) -> None:
        """Begin with what the stage found out before it was interrupted."""
        self._context, self._stage = context, stage
        # Another student, as after a repair of its stage, answers anew.
        trained = read_marker(context.storage, StageLayout(stage - 1).step("student"))
        self._folder = f"{StageLayout(stage).difficulty}/{(trained or {}).get('key', 'unknown')}"
        files = context.storage.files(self._folder)
        self._num_files = len(files)
        self._solved: dict[str, float] = {}
        for file in files:
            for row in context.storage.read_table(file).to_pylist():
                self._solved[row["request_id"]] = row["solved"]

    def outside(self, written: Mapping[str, tuple[str, NewExample]]) -> dict[str, str]:
        """Return why examples are outside of the window, by the id of the call that wrote them.

        Args:
            written: Domain and example, by the same ids.
        """
        window = self._context.config.tail.window
        assert window is not None
        if unknown := [name for name in sorted(written) if name not in self._solved]:
            self._let_solve({name: written[name] for name in unknown})
        reasons = {}
        for name in written:
            solved = self._solved[name]
            if not window.low <= solved <= window.high:
                reasons[name] = TOO_HARD if solved < window.low else TOO_EASY
        return reasons

    def _let_solve(self, written: Mapping[str, tuple[str, NewExample]]) -> None:
        """Let the student answer each question some times; keep the shares of right answers."""
        context, config = self._context, self._context.config
        assert config.tail.window is not None
        samples = config.tail.window.samples
        rows = [
            {"example_id": name, "domain": domain, "question": one.question, "answer": one.answer}
            for name, (domain, one) in written.items()
        ]
        examples = pa.Table.from_pylist(rows, schema=EXAMPLES)
        sampling = context.response
        sampling = replace(sampling, temperature=max(sampling.temperature, SAMPLE_TEMPERATURE))
        pool = context.engines.student(context.student(self._stage - 1))
        seed = context.seed("difficulty", self._stage)
        completions = respond(examples, pool, context.student_prompts, sampling, seed, samples)
        found = []
        for number, row in enumerate(examples.to_pylist()):
            right = 0
            for completion in completions[number * samples : (number + 1) * samples]:
                said = conclusion_of(row, completion.text, context.student_prompts, config)
                right += (mark(row, said, config) or 0.0) >= RIGHT
            solved = right / samples
            self._solved[row["example_id"]] = solved
            found.append((row["example_id"], row["domain"], solved))
        table = pa.table(list(map(list, zip(*found, strict=True))), schema=DIFFICULTY)
        context.storage.write_table(f"{self._folder}/{self._num_files:06d}.parquet", table)
        self._num_files += 1
