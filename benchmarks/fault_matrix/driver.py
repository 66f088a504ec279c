"""`baldistill`, with a student that learns nothing: `python driver.py run --run-dir FOLDER ...`.

Everything that handles the teacher's answers is the real thing: command line, lock, Ray, ledger,
engines, store, steps and tables. Training, evaluation and report are left out, because a matrix of
hundreds of starts would spend its time there. BALDISTILL_WHOLE_RUN=1 leaves nothing out.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any


def leave_out_the_student() -> None:
    """Replace what trains, asks and shows the student."""
    import baldistill.method.evaluate
    import baldistill.method.stage
    from baldistill.core.metrics import DomainScore, Metrics
    from baldistill.method.context import Context
    from baldistill.placement.engines import Engines
    from baldistill.records import RESPONSES
    from baldistill.run_folder.layout import StageLayout
    from baldistill.student.training import TrainingResult

    def train(context: Context, stage: int, **_: Any) -> TrainingResult:
        return TrainingResult(0, 0, 0.0, (), 0, 0)

    def evaluate(context: Context, stage: int) -> Metrics:
        score = {domain: DomainScore(0.0, 1) for domain in sorted(context.corpus.counts)}
        metrics = Metrics(0.0, 0.0, None, None, None, "accuracy", 0.0, score)
        names = StageLayout(stage)
        context.storage.write_table(names.responses, RESPONSES.empty_table())
        context.storage.write_json(names.metrics, metrics.to_dict())
        return metrics

    def no_engine(engines: Engines, model: Any) -> None:
        return None

    page = ModuleType("baldistill.report.page")
    vars(page).update(report=lambda run_dir: "left out")
    sys.modules[page.__name__] = page
    vars(baldistill.method.stage).update(train_student=train)
    vars(baldistill.method.evaluate).update(evaluate=evaluate)
    Engines.student = no_engine  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    if not os.environ.get("BALDISTILL_WHOLE_RUN"):
        leave_out_the_student()
    from baldistill.cli import main

    main()
