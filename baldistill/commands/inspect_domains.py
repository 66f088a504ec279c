"""`baldistill data domains`: a corpus's domains with typical rows, and a file that has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from baldistill.answers.store import ResponseStore
from baldistill.commands.domain_teacher import namer_of
from baldistill.commands.inputs import scorer_of, scratch_folder, validated_corpus
from baldistill.commands.inspect_corpus import domain_table
from baldistill.config import Config
from baldistill.core.longtail import by_size, head_domains
from baldistill.core.selection import hash_score, merge_top_k, partial_top_k
from baldistill.data.clusters import ClusterModel, Floats
from baldistill.data.corpus import read_corpus
from baldistill.data.named_domains import Agreement, NamedDomains
from baldistill.data.prepare import prepare_corpus
from baldistill.data.summary import CorpusSummary
from baldistill.errors import UserError
from baldistill.generation.pool import Pool
from baldistill.placement.cluster import connected
from baldistill.placement.engines import asked_alone
from baldistill.placement.resources import Cluster
from baldistill.placement.storage_check import check_storage_is_shared
from baldistill.progress.display import Display
from baldistill.run_folder import layout
from baldistill.run_folder.lock import only_run_in
from baldistill.storage import Storage
from baldistill.terminal import make_table

ENDINGS = (".parquet", ".jsonl")
_TYPICAL = 3  # rows of each domain
_SHOWN_CHARS = 100
_BATCH_ROWS = 8192
_PARTS = {"train": layout.TRAIN, "evaluation": layout.EVALUATION}


@dataclass(frozen=True, slots=True)
class Domains:
    """The domains of a corpus.

    Attributes:
        typical: Domain -> a few of its questions: those nearest to the centre of their cluster,
            or of whose domain the classifier is surest; any, where domains are neither.
        agreement: Of the classifier with the teacher, where the domains are named.
        run_dir: Where the teacher's answers are, if it was asked.
    """

    corpus: CorpusSummary
    typical: dict[str, list[str]]
    agreement: Agreement | None = None
    run_dir: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return sizes and questions as JSON values, the largest domain first."""
        found: dict[str, Any] = {
            "domains": [
                {
                    "name": name,
                    "train": self.corpus.counts[name],
                    "evaluation": self.corpus.evaluation_counts.get(name, 0),
                    "typical": self.typical[name],
                }
                for name in by_size(self.corpus.counts)
            ]
        }
        if (agreed := self.agreement) is not None:
            found["agreement"] = {
                "accuracy": agreed.accuracy,
                "count": agreed.count,
                "unread": agreed.unread,
                "domains": agreed.per_domain(),
            }
            found["run_dir"] = self.run_dir
        return found


def inspect_domains(
    config: Config,
    *,
    out: Path | None = None,
    run_dir: str | Path | None = None,
    address: str | None = None,
    verbose: bool = False,
    display: Display,
) -> Domains:
    """Prepare a corpus as a run does, and look at its domains.

    With `out`, the rows that a run would use are written there with their domain. Where the user
    named the domains, the teacher is asked, and ledger, answers and corpus are in `run_dir`: by
    default `runs/domains-NAME-TIMESTAMP`.

    Raises:
        DataError: The corpus cannot be used, or has no domains.
        UserError: `out` is no file that can be written, or the teacher cannot be asked.
    """
    if out is not None and out.suffix not in ENDINGS:
        raise UserError(f"--out {out}: the ending says the format: {' or '.join(ENDINGS)}")
    if config.data.domains is not None and config.data.domains.names is not None:
        storage = Storage.open(run_dir or layout.new_folder(f"domains-{config.name}"))
        with only_run_in(storage, display.say), connected(address, verbose=verbose) as cluster:
            check_storage_is_shared(storage)
            return _look(config, storage, _ask_and_prepare(config, storage, cluster, display), out)
    if run_dir is not None:
        raise UserError(
            "--run-dir keeps what the teacher says, and without data.domains.names it is not "
            "asked: leave --run-dir out"
        )
    with scratch_folder("data") as storage, connected(address, verbose=verbose):
        track, scorer = partial(display.task, brief=True), scorer_of(config.data)
        corpus = prepare_corpus(config.data, config.seed, storage, track, scorer)
        return _look(config, storage, corpus, out)


def _ask_and_prepare(
    config: Config, storage: Storage, cluster: Cluster, display: Display
) -> CorpusSummary:
    """Do the first step of a run in its folder, with nobody but the teacher who names domains."""
    responses = ResponseStore(storage.sub(layout.RESPONSES))
    with ExitStack() as asked:

        def teacher() -> Pool:  # the corpus is read first, or was prepared before
            return asked.enter_context(asked_alone(config, cluster, responses, [0]))[0]

        namer = namer_of(config, storage, responses, teacher, display)
        return validated_corpus(config, storage, display, namer)[1]


def _look(config: Config, storage: Storage, corpus: CorpusSummary, out: Path | None) -> Domains:
    model = _model(config, storage)
    typical = _typical_rows(storage, config, corpus, model)
    if out is not None:
        write_rows(storage, out)
    if isinstance(model, NamedDomains):
        return Domains(corpus, typical, model.agreement, storage.uri)
    return Domains(corpus, typical)


def _model(config: Config, storage: Storage) -> ClusterModel | NamedDomains | None:
    """Return what decided the domains, if it can say how typical a question is."""
    made = config.data.domains
    if made is None or (made.clusters is None and made.names is None):
        return None
    model = ClusterModel if made.names is None else NamedDomains
    return model.load(storage, layout.DOMAINS)


def show_domains(found: Domains, config: Config, display: Display) -> None:
    """Print the domains with their sizes, and typical rows of each."""
    corpus = found.corpus
    display.show(domain_table(corpus, head_domains(corpus.counts, config.evaluation.head_mass)))
    for name in by_size(corpus.counts):
        display.say(f"{name} ({corpus.counts[name]:,})")
        for question in found.typical[name]:
            line = " ".join(question.split())
            short = line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 1]}…"
            display.say(f"    {short}")
    if found.agreement is not None:  # the warnings were said when the corpus was prepared
        _show_agreement(found.agreement, display)
        return
    for warning in corpus.warnings:
        display.say(f"warning: {warning}")


def _show_agreement(agreement: Agreement, display: Display) -> None:
    """Print how far the classifier agrees with the teacher, on questions that it did not see."""
    figures = agreement.per_domain()
    rows = [
        [one["name"], *(f"{one[key]:,}" for key in ("teacher", "found", "classifier"))]
        for one in sorted(figures, key=lambda one: (-one["teacher"], one["name"]))
    ]
    columns = ["domain", "teacher", "of them alike", "classifier"]
    display.show(make_table("questions that the teacher sorted", columns, rows, []))
    display.say(
        f"the classifier agrees with the teacher about {agreement.accuracy:.1%} of "
        f"{agreement.count:,} questions that it did not see (cross-validation)"
    )


def _typical_rows(
    storage: Storage,
    config: Config,
    corpus: CorpusSummary,
    model: ClusterModel | NamedDomains | None,
) -> dict[str, list[str]]:
    seed = config.seed
    shared, wanted = ray.put(model), dict.fromkeys(corpus.counts, _TYPICAL)

    def best(block: pa.Table) -> pa.Table:
        block = block.select(["example_id", "domain", "question"])
        fitted = ray.get(shared)
        if fitted is None:
            score: Floats = hash_score(seed, block["example_id"])
        elif isinstance(fitted, NamedDomains):
            columns = (block[name].to_pylist() for name in ("question", "domain"))
            score = fitted.probability(*columns)
        else:
            score = fitted.assign(block["question"].to_pylist())[1]
        return partial_top_k(block.append_column("score", pa.array(score)), "score", wanted)

    blocks = ray.get(read_corpus(storage, each=best).to_arrow_refs())
    rows = merge_top_k([block for block in blocks if len(block)], "score", wanted)
    typical: dict[str, list[str]] = {name: [] for name in corpus.counts}
    for domain, question in zip(
        rows["domain"].to_pylist(), rows["question"].to_pylist(), strict=True
    ):
        typical[domain].append(question)
    return typical


def write_rows(storage: Storage, out: Path) -> None:
    """Write the rows of both parts to one file, with a column `split`; block by block."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".jsonl":
            with out.open("wb") as stream:
                for table in _blocks(storage):
                    for row in table.to_pylist():
                        stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        else:
            blocks = _blocks(storage)
            first = next(blocks)
            with pq.ParquetWriter(out, first.schema, compression="zstd") as writer:
                for table in chain([first], blocks):
                    writer.write_table(table)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written: {error}") from None


def _blocks(storage: Storage) -> Iterator[pa.Table]:
    for part, folder in _PARTS.items():
        for name in storage.tables(folder):
            with storage.fs.open_input_file(storage.path(f"{folder}/{name}")) as source:
                for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS):
                    table = _as_read(pa.Table.from_batches([batch]))
                    split = pa.array([part] * len(batch), pa.string())
                    yield table.append_column("split", split)


def _as_read(table: pa.Table) -> pa.Table:
    """Put acceptable answers into one list and turns into one chat again, as files have them."""
    names = table.column_names
    if "alternatives" in names:
        pairs = zip(table["answer"].to_pylist(), table["alternatives"].to_pylist(), strict=True)
        lists = pa.array([[answer, *(more or ())] for answer, more in pairs], pa.list_(pa.string()))
        table = table.set_column(names.index("answer"), "answer", lists)
        table = table.drop_columns("alternatives")
    if "context" in names:
        turns = zip(table["context"].to_pylist(), table["question"].to_pylist(), strict=True)
        chats = [[*(before or ()), {"role": "user", "content": asked}] for before, asked in turns]
        column = pa.array(chats, table.schema.field("context").type)
        table = table.drop_columns("context").append_column("messages", column)
    return table
