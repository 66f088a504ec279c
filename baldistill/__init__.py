"""Multi-Stage Balanced Distillation (BalDistill, arXiv 2406.13114) on Ray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baldistill.config import Config as Config
    from baldistill.errors import UserError as UserError
    from baldistill.pipeline.compare import compare as compare
    from baldistill.pipeline.forecast import forecast as plan
    from baldistill.pipeline.run import RunResult as RunResult
    from baldistill.pipeline.run import run as run
    from baldistill.report.ledger import ledger as ledger
    from baldistill.report.page import report as write_report
    from baldistill.tune.sweep import sweep as sweep

__version__ = "0.1.0"
__all__ = [
    "Config",
    "RunResult",
    "UserError",
    "compare",
    "ledger",
    "plan",
    "run",
    "sweep",
    "write_report",
]

_HOME = {
    "Config": "baldistill.config",
    "UserError": "baldistill.errors",
    "RunResult": "baldistill.pipeline.run",
    "plan": "baldistill.pipeline.forecast:forecast",
    "ledger": "baldistill.report.ledger",
    "write_report": "baldistill.report.page:report",
    "compare": "baldistill.pipeline.compare",
    "run": "baldistill.pipeline.run",
    "sweep": "baldistill.tune.sweep",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `import baldistill` stays light."""
    if name in _HOME:
        module, _, attribute = _HOME[name].partition(":")
        return getattr(import_module(module), attribute or name)
    raise AttributeError(f"module 'baldistill' has no attribute {name!r}")
