"""cluster/submit.sh and slurm.sh tell what cannot work before anything is sent.

What submit.sh does when all is well is test_job.py's; slurm.sh is given stand-ins for SLURM here.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import symmetric_run

CLUSTER = Path(__file__).resolve().parents[3] / "cluster"
SCRIPT = CLUSTER / "submit.sh"


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


def slurm(folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """slurm.sh where srun says what it is to start, and with what in its environment."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    scripts = {
        "scontrol": 'echo "$3" | tr , "\\n"',
        "getent": 'echo "10.0.0.7 STREAM $2"',
        "ray": "",
        "srun": 'echo "$@"; echo "$RAY_AUTH_MODE ${#RAY_AUTH_TOKEN} $RAY_USAGE_STATS_ENABLED"',
    }
    for name, body in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        [str(CLUSTER / "slurm.sh"), *arguments],
        cwd=folder,
        env={"PATH": f"{tools}:/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


JOB = {
    "SLURM_JOB_ID": "40123",
    "SLURM_JOB_NODELIST": "n1,n2",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_CPUS_ON_NODE": "64",
}


def test_slurm_starts_ray_on_all_nodes_and_the_run_on_the_first(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("name: run\n")
    status, said, wrong = slurm(tmp_path, "run.yaml", "--run-dir", "/shared/r", "seed=1", **JOB)
    assert (status, wrong) == (0, "")
    command, environment = said.splitlines()
    steps, _, run = command.partition(" -- ")
    assert run == "baldistill run run.yaml --run-dir /shared/r seed=1 --address 10.0.0.7:20123"
    srun, _, ray = steps.partition(" ray symmetric-run ")
    assert srun == "--ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=1"
    assert ray.split() == [
        *("--address", "10.0.0.7:20123", "--min-nodes", "2"),
        *("--num-cpus", "64", "--disable-usage-stats"),
    ]
    assert environment == "token 64 0"


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("run.yaml", "--run-dir", "/s"), {}, "this is a job of SLURM: sbatch"),
        (("other.yaml", "--run-dir", "/s"), JOB, "config other.yaml does not exist"),
        (("run.yaml",), JOB, "give --run-dir"),
    ],
)
def test_slurm_says_what_cannot_work(
    arguments: tuple[str, ...], variables: dict[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("name: run\n")
    status, said, wrong = slurm(tmp_path, *arguments, **variables)
    assert (status, said) == (2, "")
    assert words in wrong


def test_the_options_of_symmetric_run_exist() -> None:
    """ray parses them; an unknown one is left over for `ray start`, which knows the others."""
    context = symmetric_run.make_context(
        "_", ["--address", "h:1", "--min-nodes", "2", "--num-cpus", "4", "--", "true"]
    )
    assert (context.params["address"], context.params["min_nodes"]) == ("h:1", 2)
    left = list(context.params["ray_args_and_entrypoint"])
    known = {name for option in start.params for name in option.opts}
    assert {"--num-cpus", "--disable-usage-stats"} <= known
    assert "--num-cpus" in left
