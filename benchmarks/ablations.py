"""Compare BalDistill-A on the quickstart corpus with variants that change one option.

    python benchmarks/ablations.py [--seeds 0,1,2] [--only NAME,...] [--out DIR] [--quick]

Every variant is BalDistill-A on the quickstart's corpus, budget and models with one option
changed, over several seeds; all share one store of the teacher's answers. The same --out resumes.
Prints the table of `baldistill compare` and a JSON object last. `--quick` is a tenth of the
budget, two stages and one seed: it shows that the benchmark works, not what an option is worth.
"""

from __future__ import annotations

import argparse
import json

from baldistill.commands.compare import compare
from baldistill.config import Config
from baldistill.config.loading import load_config

VARIANTS = {
    "baldistill-a": [],
    "metric-random": ["selection.metric=random"],
    "metric-perplexity": ["selection.metric=perplexity"],
    "first-stage-metric": ["selection.first_stage=metric"],
    "candidates-1.5": ["selection.candidates_per_quota=1.5"],
    "candidates-10": ["selection.candidates_per_quota=10"],
    "data-stage": ["student.data=stage"],
    "init-base": ["student.init=base"],
    "verify": ["tail.votes=1"],
    "errors": ["budget.policy=errors"],
    "gain": ["budget.policy=gain"],
    "gain-macro": ["budget.policy={kind: gain, objective: macro}"],
    "errors-verify": ["budget.policy=errors", "tail.votes=1"],
}
_QUICK = ["budget.total=120", "stages=2", "student.epochs=2", "data.bundled_rows=400"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", help="comma-separated variants", default=",".join(VARIANTS))
    parser.add_argument("--out", help="folder that a second run resumes")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    seeds = [0] if arguments.quick else [int(seed) for seed in arguments.seeds.split(",")]
    names = [name for name in VARIANTS if name in arguments.only.split(",")]
    names = names[:3] if arguments.quick else names

    def config_of(name: str, seed: int) -> Config:
        last_only = ["evaluation.every_stage=false", "evaluation.base_student=false"]
        quick = _QUICK if arguments.quick else []
        return load_config(None, [*VARIANTS[name], *quick, *last_only, f"seed={seed}"])

    data = compare(config_of, names, seeds, run_dir=arguments.out, parallel=1)
    ours, reference = data["rows"][-1]["macro"]["mean"], data["rows"][0]["macro"]["mean"]
    print(
        json.dumps(
            {
                "name": "ablations",
                "ours": ours,
                "reference": reference,
                "ratio": ours / reference if reference else None,
                "unit": "macro accuracy of the last variant against the first",
                "what": {row["method"]: row["macro"] for row in data["rows"]},
            }
        )
    )


if __name__ == "__main__":
    main()
