"""Validation, counting, sampling and top-k on generated corpora of growing size, against pandas.

    python benchmarks/selection_scale.py [--quick] [--rows 1000000,3000000,10000000]

Each size runs in a process of its own with a Ray of its own. Prints a line for each size: rows per
second of each step, and the peak memory (private pages) of the driver and of the largest worker;
then, last, a JSON object with all of them. The reference is pandas with the whole corpus in one
process, which is what one writes where it fits in memory; it neither splits, nor quarantines, nor
writes, and is run for corpora of up to three million rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

QUICK = "50000,150000"
REFERENCE_UP_TO = 3_000_000

GENERATE = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
rows, domains, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = np.random.default_rng(0)
weights = 1.0 / np.arange(1, domains + 1); weights /= weights.sum()
with pq.ParquetWriter(path, pa.schema([(n, pa.string()) for n in ("question", "answer", "domain")]),
                      compression="zstd") as writer:
    for start in range(0, rows, 100_000):
        size = min(100_000, rows - start)
        domain = [f"domain-{d:05d}" for d in rng.choice(domains, size, p=weights)]
        number = [str(start + i) for i in range(size)]
        question = [f"Question {n}: what comes after {n} in the order of numbers, and why?"
                    for n in number]
        writer.write_table(pa.table([question, number, domain], schema=writer.schema))
"""

PANDAS = """
import json, sys, time, resource
import pandas as pd
start = time.monotonic()
frame = pd.read_parquet(sys.argv[1])
frame = frame.dropna()
frame = frame[(frame["question"].str.strip() != "") & (frame["answer"].str.strip() != "")]
frame = frame.drop_duplicates(["domain", "question"])
frame["score"] = pd.util.hash_pandas_object(frame["question"], index=False)
counts = frame["domain"].value_counts()
best = frame.sort_values("score", ascending=False).groupby("domain").head(20)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": time.monotonic() - start, "peak_mib": round(peak / 1024)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rows, within a minute")
    parser.add_argument("--rows", default="1000000,3000000,10000000", help="comma-separated")
    parser.add_argument("--domains", type=int, default=1_000)
    parser.add_argument("--measure", nargs=2, metavar=("CORPUS", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        corpus, rows = arguments.measure
        print(json.dumps(measure(Path(corpus), int(rows))))
        return
    sizes = []
    for rows in map(int, (QUICK if arguments.quick else arguments.rows).split(",")):
        sizes.append(one_size(rows, arguments.domains))
        print(json.dumps(sizes[-1]), flush=True)
    compared = [size for size in sizes if "reference_rows_per_second" in size]
    last = compared[-1] if compared else {}
    ours, reference = last.get("rows_per_second"), last.get("reference_rows_per_second")
    print(
        json.dumps(
            {
                "name": "selection_scale",
                "ours": ours,
                "reference": reference,
                "ratio": ours / reference if ours and reference else None,
                "unit": "rows/s, validated, counted, split, sampled and ranked",
                "what": f"{last.get('rows', 0):,} rows in {arguments.domains:,} domains, Parquet, "
                f"{os.cpu_count()} CPUs; the reference is pandas in memory",
                "sizes": sizes,
            }
        )
    )


def one_size(rows: int, domains: int) -> dict[str, Any]:
    """Generate a corpus, and measure ours and the reference on it."""
    with tempfile.TemporaryDirectory(prefix="baldistill-scale-") as scratch:
        corpus = Path(scratch) / "corpus.parquet"
        subprocess.run(
            [sys.executable, "-c", GENERATE, str(rows), str(domains), str(corpus)], check=True
        )
        found = {"rows": rows, **_json_of([__file__, "--measure", str(corpus), str(rows)])}
        if rows <= REFERENCE_UP_TO:
            reference = _json_of(["-c", PANDAS, str(corpus)])
            found["reference_rows_per_second"] = round(rows / reference["seconds"])
            found["reference_peak_mib"] = reference["peak_mib"]
    return found


def _json_of(arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(corpus: Path, rows: int) -> dict[str, Any]:
    """Prepare, plan, sample and rank; seconds of each, and peak memory."""
    from baldistill.commands.inputs import validated_corpus
    from baldistill.config.loading import load_config
    from baldistill.core.selection import partial_top_k
    from baldistill.data.corpus import sample
    from baldistill.method.plan import plan_all
    from baldistill.method.select import candidate_counts
    from baldistill.placement.cluster import connected
    from baldistill.progress.display import Display
    from baldistill.records import seed_for
    from baldistill.storage import Storage

    config = load_config(
        None, [f"data.train={corpus}", "budget.total=20000", "data.evaluation_max_per_domain=20"]
    )
    storage = Storage.open(corpus.parent / "run")
    with connected(), Memory() as memory:
        times = [time.monotonic()]
        _, summary = validated_corpus(config, storage, Display())
        times.append(time.monotonic())
        validating_peak = memory.worker
        plan = plan_all(config, summary.counts)[0]
        times.append(time.monotonic())
        wanted = candidate_counts(plan, config.selection.candidates_per_quota)
        best = sample(storage, wanted, plan.unused, tried=set(), seed=seed_for(0, "candidates", 1))
        times.append(time.monotonic())
        selected = partial_top_k(best, "score", plan.quotas)
        times.append(time.monotonic())
    assert len(best) == sum(wanted.values())
    seconds = [after - before for before, after in pairwise(times)]
    return {
        "rows_per_second": round(rows / sum(seconds)),
        "validate_and_count_rows_per_second": round(rows / seconds[0]),
        "sample_rows_per_second": round(rows / seconds[2]),
        "plan_seconds": round(seconds[1], 3),
        "top_k_seconds": round(seconds[3], 3),
        "candidates": len(best),
        "selected": len(selected),
        "driver_peak_mib": memory.driver,
        "worker_peak_mib": memory.worker,
        "worker_peak_mib_while_validating": validating_peak,
    }


class Memory(threading.Thread):
    """Peak private memory of this process and of the largest Ray worker below it, in MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = self.worker = 0
        self._ended = threading.Event()

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Look five times a second."""
        while not self._ended.wait(0.2):
            self.driver = max(self.driver, private_mib(os.getpid()))
            self.worker = max([self.worker, *map(private_mib, workers())])


def workers() -> list[int]:
    """Return the ids of processes named `ray::...` below this one."""
    parents: dict[int, int] = {}
    named: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if (folder / "cmdline").read_bytes().startswith(b"ray::"):
                named.append(int(folder.name))
        except OSError:  # ended since
            continue
    return [pid for pid in named if _is_below(pid, os.getpid(), parents)]


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid not in (0, ancestor):
        pid = parents.get(pid, 0)
    return pid == ancestor


def private_mib(pid: int) -> int:
    """Anonymous resident memory: shared pages of the object store belong to nobody."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) // 1024 for x in lines if x.startswith("RssAnon:")), 0)


if __name__ == "__main__":
    main()
