"""Checks of the whole corpus: errors if it cannot be used, warnings if it is merely odd."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from baldistill.config import DataConfig
from baldistill.data.staged_part import ReadReport
from baldistill.data.summary import CorpusSummary
from baldistill.errors import DataError
from baldistill.run_folder import layout
from baldistill.storage import Storage

MAX_DOMAINS = 10_000
"""A bound, because the driver holds the evaluation candidates of every domain."""

_MAX_NAMED = 5


def check_share_bad(reports: Sequence[ReadReport], config: DataConfig, storage: Storage) -> None:
    """Raise if there are no rows, or too many bad ones.

    Duplicates and rows of the evaluation set do not count: they are found only later.
    """
    num_read = sum(report.num_read for report in reports)
    num_bad = sum(sum(report.bad.values()) for report in reports)
    if num_read == 0:
        raise DataError(f"the corpus is empty: data.train={_listed(config.train)} has no rows")
    if num_bad < num_read and num_bad <= config.max_bad_fraction * num_read:
        return
    examples = [example for report in reports for example in report.examples][:_MAX_NAMED]
    fix = "mend the files, or the column mapping in data.columns"
    raise too_many_bad(num_bad, num_read, examples, config, storage.uri_of(layout.QUARANTINE), fix)


def too_many_bad(
    num_bad: int, num_read: int, examples: Sequence[str], config: DataConfig, where: str, fix: str
) -> DataError:
    """Return the error for files with too many bad rows.

    Args:
        num_bad: Bad rows.
        num_read: All rows.
        examples: Some bad rows, each in a line.
        config: Holds the bound.
        where: The folder of the quarantine.
        fix: What the user can do.
    """
    share = f"all {num_read} rows" if num_bad == num_read else f"{num_bad} of {num_read} rows"
    if num_bad < num_read:
        fix += f", or allow it with data.max_bad_fraction={_rounded_up(num_bad / num_read)}"
    listed = "\n  ".join(
        [
            f"{share} cannot be used (data.max_bad_fraction={config.max_bad_fraction}), "
            "for example:",
            *examples,
        ]
    )
    return DataError(f"{listed}\nAll of them, with reasons: {where}\nTo do: {fix}")


def check_namer(config: DataConfig, namer: object | None) -> None:
    """Raise if the teacher is to name domains, and the command asks no teacher."""
    made = config.domains
    if made is not None and made.names is not None and namer is None:
        raise DataError(
            f"data.domains.names: the teacher has to sort {made.sample:,} questions first (as many "
            "calls at most, and one more for each answer that names no domain), and this command "
            "calls nobody. To do: `baldistill data domains CONFIG --run-dir DIR` asks it, once; "
            "then give `plan` and `run` the same --run-dir. For other commands let it write a file "
            "(--out)"
        )


def check_evaluation(num_evaluation: int, num_train: int, config: DataConfig) -> None:
    """Raise if the evaluation set is empty."""
    if num_evaluation:
        return
    if config.evaluation is not None:
        problem = f"data.evaluation={_listed(config.evaluation)} has no valid row"
        fix = "name other files, or leave it out for a seeded split of data.train"
    elif config.columns.split is not None:
        problem = f"no valid row has test, eval, validation or dev in `{config.columns.split}`"
        fix = "set data.evaluation, or data.columns.split=null for a seeded split of data.train"
    else:
        problem = f"none of the domains of the {num_train} rows has a second row to set aside"
        fix = "add rows, give data.evaluation, or map data.columns.domain to a coarser column"
    raise DataError(f"the evaluation set is empty: {problem}. To do: {fix}")


def check_num_domains(num_domains: int, config: DataConfig) -> None:
    """Raise if the domain column has too many values for domains."""
    if num_domains > MAX_DOMAINS:
        raise DataError(
            f"`{config.domain_column}` has more than {MAX_DOMAINS} different values: a domain is "
            "a class, topic or task type that many rows share. To do: map data.columns.domain to "
            "a coarser column"
        )


def check_domains(summary: CorpusSummary) -> None:
    """Raise if nothing is left to train on, or only the evaluation set has a domain."""
    if not summary.counts:
        raise DataError(
            "no rows are left to train on: "
            + (", ".join(f"{n} {reason}" for reason, n in summary.quarantined.items()) or "none")
            + ". To do: give data.train rows that are not in the evaluation set"
        )
    alone = sorted(set(summary.evaluation_counts) - set(summary.counts))
    if alone:
        raise DataError(
            f"{len(alone)} domains are in the evaluation set but have no training row: "
            f"{named(alone)}. To do: add training rows for them, take their rows out of the "
            "evaluation set, or spell the domains alike in both"
        )


def check_domain_tasks(summary: CorpusSummary, config: DataConfig) -> None:
    """Raise if `data.domain_tasks` names a domain that is not there, most likely a misspelt one.

    Without the error, `data.task` would mark the examples of the domain that was meant.
    """
    for name in config.domain_tasks:
        if name not in summary.counts:
            near = difflib.get_close_matches(name, summary.counts, 1, 0.6)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(
                f"data.domain_tasks names {name!r}, and no training row is of that domain; {hint}"
                f"There are: {named(sorted(summary.counts))}"
            )


def warnings_of(summary: CorpusSummary, config: DataConfig, *, has_choices: bool) -> list[str]:
    """Say what is odd about a corpus that can be used."""
    counts, found = summary.counts, list[str]()
    if len(counts) == 1:
        found.append(
            f"there is one domain only ({next(iter(counts))}): there is nothing to balance; "
            "check data.columns.domain"
        )
    untested = sorted(set(counts) - set(summary.evaluation_counts))
    if untested:
        single = config.evaluation is None and config.columns.split is None
        why = ": a domain with a single row keeps it for training" if single else ""
        found.append(f"{len(untested)} domains have no evaluation rows: {named(untested)}{why}")
    if summary.num_capped:
        found.append(
            f"{summary.num_capped} evaluation rows beyond data.evaluation_max_per_domain="
            f"{config.evaluation_max_per_domain} are left out (a seeded sample is kept)"
        )
    if config.evaluation is not None and config.columns.split is not None:
        found.append(
            "data.columns.split is not used, for data.evaluation is given: every row of "
            "data.train is trained on"
        )
    if config.columns.choices is not None and not has_choices:
        found.append(f"no row has choices in `{config.columns.choices}` (data.columns.choices)")
    return found


def named(names: Sequence[str]) -> str:
    """List the first few names."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _listed(sources: str | Sequence[str]) -> str:
    return sources if isinstance(sources, str) else named(sources)


def _rounded_up(share: float) -> float:
    return min(1.0, round(int(share * 100) / 100 + 0.01, 2))
