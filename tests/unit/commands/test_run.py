"""What a run does before it reads the corpus."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from baldistill.commands.inputs import validated_corpus
from baldistill.config.loading import load_config
from baldistill.errors import MissingPackageError
from baldistill.progress.display import Display
from baldistill.storage import Storage


@pytest.mark.parametrize("override", ["data.task=math", "data.domain_tasks={sums: math}"])
def test_math_without_its_package_is_an_error_before_the_corpus_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    config = load_config(None, [override, "data.train=nowhere.jsonl"])
    with pytest.raises(MissingPackageError, match=r"pip install 'baldistill\[math\]'"):
        validated_corpus(config, Storage.open(tmp_path), Display(quiet=True))


def test_no_command_imports_torch_before_it_trains() -> None:
    """It takes longer than all the rest of a start, and a user waits for the first message."""
    modules = ("compare", "plan", "run")
    names = [*(f"baldistill.commands.{name}" for name in modules), "baldistill.tune.sweep"]
    code = (
        f"import sys, {', '.join(names)}; "
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
