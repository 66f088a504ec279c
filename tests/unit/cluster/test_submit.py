"""cluster/submit.sh tells what cannot work before anything is sent; what works is test_job.py's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "cluster" / "submit.sh"


def submit(folder: Path, *arguments: str, path: str = "/usr/bin:/bin") -> tuple[int, str]:
    done = subprocess.run(
        [str(SCRIPT), *arguments],
        cwd=folder,
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "submit.sh CONFIG --run-dir URI"),
        (("--help",), "RAY_API_SERVER_ADDRESS"),
        (("missing.yaml", "--run-dir", "s3://b/r"), "config missing.yaml does not exist"),
        (("/etc/hostname", "--run-dir", "s3://b/r"), "does not travel with the job"),
        (("run.yaml",), "give --run-dir"),
        (("run.yaml", "stages=2", "--json"), "give --run-dir"),
        (("run.yaml", "--run-dir", "runs/first"), "--run-dir runs/first would end with the job"),
        (("run.yaml", "--run-dir=runs/first"), "--run-dir runs/first would end with the job"),
        (("run.yaml", "--run-dir", "s3://b/r"), "ray is not on PATH"),
        (("run.yaml", "--run-dir=/mnt/shared/r", "seed=1"), "ray is not on PATH"),
    ],
)
def test_what_cannot_work_exits_with_2_and_says_why(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("name: run\n")
    status, message = submit(tmp_path, *arguments)
    assert status == 2
    assert words in message
