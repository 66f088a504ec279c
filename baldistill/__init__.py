"""Multi-Stage Balanced Distillation (BalDistill, arXiv 2406.13114) on Ray."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baldistill.commands.ask import Reply as Reply
    from baldistill.commands.ask import RunStudent as RunStudent
    from baldistill.commands.compare import compare as compare
    from baldistill.commands.doctor import Finding as Finding
    from baldistill.commands.doctor import doctor as doctor
    from baldistill.commands.evaluate import evaluate as evaluate
    from baldistill.commands.export import Export as Export
    from baldistill.commands.export import export as export
    from baldistill.commands.plan import RunPlan as RunPlan
    from baldistill.commands.plan import plan as plan
    from baldistill.commands.preview import Preview as Preview
    from baldistill.commands.preview import preview as preview
    from baldistill.commands.publish import Published as Published
    from baldistill.commands.publish import publish as publish
    from baldistill.commands.repair import Repair as Repair
    from baldistill.commands.repair import repair as repair
    from baldistill.commands.run import RunResult as RunResult
    from baldistill.commands.run import run as run
    from baldistill.config import Config as Config
    from baldistill.errors import UserError as UserError
    from baldistill.report.browse import Browser as Browser
    from baldistill.report.browse import browse as browse
    from baldistill.report.page import report as write_report
    from baldistill.report.requests import ledger as ledger
    from baldistill.tune.sweep import sweep as sweep

__version__ = "0.1.0"
__all__ = [
    "Browser",
    "Config",
    "Export",
    "Finding",
    "Preview",
    "Published",
    "Repair",
    "Reply",
    "RunPlan",
    "RunResult",
    "RunStudent",
    "UserError",
    "browse",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "ledger",
    "plan",
    "preview",
    "publish",
    "repair",
    "run",
    "sweep",
    "write_report",
]

_HOME = {
    "Config": "baldistill.config",
    "UserError": "baldistill.errors",
    "Reply": "baldistill.commands.ask",
    "RunStudent": "baldistill.commands.ask",
    "Finding": "baldistill.commands.doctor",
    "doctor": "baldistill.commands.doctor",
    "evaluate": "baldistill.commands.evaluate",
    "Export": "baldistill.commands.export",
    "export": "baldistill.commands.export",
    "RunPlan": "baldistill.commands.plan",
    "RunResult": "baldistill.commands.run",
    "plan": "baldistill.commands.plan",
    "ledger": "baldistill.report.requests",
    "Preview": "baldistill.commands.preview",
    "preview": "baldistill.commands.preview",
    "Published": "baldistill.commands.publish",
    "publish": "baldistill.commands.publish",
    "Repair": "baldistill.commands.repair",
    "repair": "baldistill.commands.repair",
    "Browser": "baldistill.report.browse",
    "browse": "baldistill.report.browse",
    "write_report": "baldistill.report.page:report",
    "compare": "baldistill.commands.compare",
    "run": "baldistill.commands.run",
    "sweep": "baldistill.tune.sweep",
}


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `import baldistill` stays light."""
    if name in _HOME:
        module, _, attribute = _HOME[name].partition(":")
        return getattr(import_module(module), attribute or name)
    raise AttributeError(f"module 'baldistill' has no attribute {name!r}")
