"""The matrix of faults in its quick form: kills and hostile replies break no promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def test_the_quick_matrix_is_green(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/faults.py", "--quick", "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["fault"]: row for row in json.loads(done.stdout.splitlines()[-1])["rows"]}
    kills = [row["faults"] for name, row in rows.items() if "kill" in name.lower()]
    assert sum(kills) >= 3
    assert rows["hostile server"]["faults"] >= 40
    assert rows["kills"]["equal"] == rows["kills"]["rounds"] > 0
