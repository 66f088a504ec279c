"""Domains made from questions: how well they meet hidden ones, and what they cost as rows grow.

    python benchmarks/made_domains.py [--quick] [--rows 250000,1000000]

The bundled corpus with its domains hidden, three seeds: adjusted mutual information of 12 clusters
and of `auto` with the true domains, beside the reference, k-means alone on the same vectors. Then
corpora of short questions of growing size: CPU seconds and peak memory (private pages) of the
preparation with clusters, and with the domains in a column. A line for each; JSON last.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

from selection_scale import Memory, workers

CLUSTERS = 12
QUICK = "20000,80000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rows")
    parser.add_argument("--rows", default="250000,1000000", help="comma-separated")
    parser.add_argument("--measure", nargs=2, metavar=("ROWS", "KIND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(prepared(int(arguments.measure[0]), arguments.measure[1])))
        return
    agreement = [agreed(seed) for seed in range(3)]
    sizes = []
    for rows in (QUICK if arguments.quick else arguments.rows).split(","):
        for kind in ("clusters", "column"):
            done = subprocess.run(
                [sys.executable, __file__, "--measure", rows, kind],
                check=True,
                stdout=subprocess.PIPE,
            )
            sizes.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(sizes[-1]), flush=True)
    ours, reference = (mean(found[key] for found in agreement) for key in ("ours", "kmeans"))
    print(
        json.dumps(
            {
                "name": "made_domains",
                "ours": ours,
                "reference": reference,
                "ratio": ours / reference,
                "unit": "adjusted mutual information with the hidden domains",
                "what": f"bundled corpus, {CLUSTERS} clusters, three seeds; reference: k-means",
                "agreement": agreement,
                "sizes": sizes,
            }
        )
    )


def agreed(seed: int) -> dict[str, float]:
    """Compare clusters of the bundled corpus with its domains."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import adjusted_mutual_info_score as agreement
    from sklearn.preprocessing import normalize

    from baldistill.bundled.corpus import make_corpus
    from baldistill.data.clusters import fit, words

    table, _ = make_corpus(4000, 60, 2.0, seed)
    questions, true = table["question"].to_pylist(), table["domain"].to_pylist()
    sample = sorted(set(questions))
    model, automatic = fit(sample, CLUSTERS, seed), fit(sample, "auto", seed)
    tfidf = TfidfVectorizer(analyzer=words, sublinear_tf=True, min_df=2).fit_transform(questions)
    points = normalize(TruncatedSVD(100, random_state=seed).fit_transform(tfidf))
    alone = KMeans(CLUSTERS, n_init=4, random_state=seed).fit_predict(points)
    found = {
        "seed": seed,
        "ours": round(agreement(true, model.assign(questions)[0]), 3),
        "kmeans": round(agreement(true, alone), 3),
        "auto": round(agreement(true, automatic.assign(questions)[0]), 3),
        "num_auto": len(automatic.names),
    }
    print(json.dumps(found), flush=True)
    return found


class Use(Memory):
    """Peak memory, and the CPU seconds of this process and its workers so far, by process."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu: dict[int, float] = {}

    def look(self) -> float:
        """Read the clocks; return their sum."""
        for pid in (os.getpid(), *workers()):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended since
                continue
            self.cpu[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return sum(self.cpu.values())


def prepared(rows: int, kind: str) -> dict[str, Any]:
    """Prepare a corpus of so many short questions, with clusters or with a column of domains."""
    from baldistill.bundled.corpus import make_corpus
    from baldistill.config import DataConfig
    from baldistill.data.prepare import prepare_corpus
    from baldistill.placement.cluster import connected
    from baldistill.storage import Storage

    table, _ = make_corpus(20_000, 60, 1.0, 0)
    texts, domains = table["question"].to_pylist(), table["domain"].to_pylist()
    with tempfile.TemporaryDirectory(prefix="baldistill-domains-") as scratch:
        corpus = Path(scratch) / "corpus.jsonl"
        with corpus.open("w", encoding="utf-8") as file:
            for i in range(rows):
                k = i % len(texts)
                row = {"question": f"{texts[k]} Note {i}.", "answer": "1", "domain": domains[k]}
                file.write(json.dumps(row) + "\n")
        values: dict[str, Any] = {"train": str(corpus)}
        if kind == "clusters":
            values |= {"columns": {"domain": None}, "domains": {"clusters": CLUSTERS}}
        use = Use()
        with connected(), use:
            before = use.look()
            summary = prepare_corpus(
                DataConfig.model_validate(values), 0, Storage.open(Path(scratch) / "run")
            )
            seconds = use.look() - before
    return {
        "rows": rows,
        "domains_from": kind,
        "cpu_seconds": round(seconds, 1),
        "driver_peak_mib": use.driver,
        "worker_peak_mib": use.worker,
        "num_domains": len(summary.counts),
    }


if __name__ == "__main__":
    main()
