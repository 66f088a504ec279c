"""Domains made from questions: how well they meet hidden ones, and what they cost as rows grow.

    python benchmarks/made_domains.py [--quick] [--rows 250000,1000000]

The bundled corpus with its domains hidden, three seeds: adjusted mutual information of 12 clusters
and of `auto` with the true domains, beside the reference, k-means alone on the same vectors. The
same of named domains, where the true domain of a sample stands for the teacher's word: of all, and
with a tenth of them replaced by any. Then corpora of short questions of growing size: CPU seconds
and peak memory (private pages) of the preparation with clusters, with named domains (the sample is
sorted rightly), and with the domains in a column. A line for each; JSON last.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from preparation import measured, prepare, sizes_to_measure

CLUSTERS = 12


def main() -> None:
    sizes = sizes_to_measure(__doc__, prepared)
    if sizes is None:
        return
    agreement = [agreed(seed) for seed in range(3)]
    named = [
        sorted_like(seed, sample, wrong)
        for sample in (200, 500, 1000)
        for wrong in (0.0, 0.1)
        for seed in range(3)
    ]
    found = measured(__file__, sizes, ("clusters", "names", "column"))
    ours, reference = (mean(one[key] for one in agreement) for key in ("ours", "kmeans"))
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
                "named": named,
                "sizes": found,
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


def sorted_like(seed: int, sample: int, wrong: float) -> dict[str, float]:
    """Sort the bundled corpus by a sample of its true domains, of which a share is wrong."""
    from sklearn.metrics import adjusted_mutual_info_score, balanced_accuracy_score

    from baldistill.bundled.corpus import make_corpus
    from baldistill.data.named_domains import fit_names

    table, _ = make_corpus(4000, 60, 2.0, seed)
    true_of = dict(zip(table["question"].to_pylist(), table["domain"].to_pylist(), strict=True))
    draw = random.Random(seed)
    questions = sorted(true_of)
    draw.shuffle(questions)
    names = sorted(set(true_of.values()))
    told: list[str | None] = [
        draw.choice(names) if draw.random() < wrong else true_of[question]
        for question in questions[:sample]
    ]
    keys = np.arange(len(questions), dtype=np.uint64)
    model = fit_names(questions, keys, told, names)
    codes = model.assign(questions, keys)
    true = [true_of[question] for question in questions]
    others = codes[sample:], [names.index(name) for name in true[sample:]]
    found = {
        "seed": seed,
        "sample": sample,
        "wrong": wrong,
        "names_told": len(set(told)),
        "held_out": round(model.agreement.accuracy, 3),
        "accuracy": round(float(np.mean(others[0] == np.array(others[1]))), 3),
        "macro": round(float(balanced_accuracy_score(others[1], others[0])), 3),
        "mutual_information": round(float(adjusted_mutual_info_score(true, codes)), 3),
    }
    print(json.dumps(found), flush=True)
    return found


def prepared(rows: int, kind: str) -> dict[str, Any]:
    """Prepare a corpus of so many short questions, with domains made or in a column."""
    from baldistill.bundled.corpus import make_corpus
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
        made = {"clusters": CLUSTERS} if kind == "clusters" else {"names": sorted(set(domains))}
        if kind != "column":
            values |= {"columns": {"domain": None}, "domains": made}
        true_of = dict(zip(texts, domains, strict=True))

        def say_true(asked: Sequence[str]) -> list[str | None]:
            return [true_of[text.rpartition(" Note ")[0]] for text in asked]

        namer = say_true if kind == "names" else None
        summary, cost = prepare(values, Storage.open(Path(scratch) / "run"), namer)
    return {"rows": rows, "domains_from": kind, **cost, "num_domains": len(summary.counts)}


if __name__ == "__main__":
    main()
