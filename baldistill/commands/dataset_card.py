"""The card of an exported data set: what is in it, from where, who wrote it, for how much."""

from __future__ import annotations

from collections.abc import Mapping

from baldistill.commands.card_facts import facts
from baldistill.report.formats import markdown_table
from baldistill.run_folder.reader import RunFolder
from baldistill.visible import visible

_SIZES = {"1K": 1_000, "10K": 10_000, "100K": 100_000, "1M": 1_000_000, "10M": 10_000_000}
_SOURCES = {
    "real": "a row of the corpus, explained by the teacher",
    "further": "a row of the corpus with a further rationale of the teacher's",
    "synthetic": "written by the teacher, question and all",
    "repeated": "a row of the corpus a further time",
}


def dataset_card(
    folder: RunFolder,
    stage: int,
    format: str,
    file: str,
    counts: Mapping[str, Mapping[str, int]],
    *,
    is_chat: bool,
) -> str:
    """Return the card, Markdown with the hub's metadata at the top.

    Args:
        folder: The run.
        stage: Whose student learnt from the examples.
        format: Of the examples.
        file: Where they are.
        counts: Domain -> source -> examples.
        is_chat: Whether the student was shown chats.
    """
    total = sum(sum(sources.values()) for sources in counts.values())
    lines = [
        "---",
        "# license: the owner's to say; see the corpus's and the teacher's own terms",
        "task_categories:",
        "- text-generation",
        "tags:",
        "- distillation",
        "- baldistill",
        "size_categories:",
        f"- {_size(total)}",
        "configs:",
        "- config_name: default",
        f"  data_files: {file}",
        "---",
        "",
        f"# {visible(folder.name)}: {total:,} examples",
        "",
        f"What the student of stage {stage} learnt from, in {len(counts)} domains, made with "
        "[Multi-Stage Balanced Distillation](https://arxiv.org/abs/2406.13114) by baldistill "
        f"{visible(str(folder.versions.get('baldistill', '')))}.",
        "",
        *facts(folder, ("format", format)),
        "",
        "## Examples by domain",
        "",
        *_by_domain(counts),
        "",
        *(f"- `{name}`: {meaning}" for name, meaning in _SOURCES.items()),
        "",
        *_limits(folder, is_chat),
    ]
    return "\n".join(lines) + "\n"


def _limits(folder: RunFolder, is_chat: bool) -> list[str]:
    lines = [
        "## Limits",
        "",
        "- The rationales are a model's. Those of real rows end in the gold answer, unless the "
        "run kept others; the answers of synthetic rows are the teacher's own."
        if (accept := folder.setting("rationale.accept", "gold")) == "gold"
        else "- Rationales and answers are a model's, those of real rows too"
        + {
            "majority": ": those that most of several answers agreed on.",
            "judge": ": those that a judge accepted.",
        }.get(accept, "."),
        f"- The training cut examples of over {folder.setting('student.max_length', 1024):,} "
        "tokens of the student; here they are whole.",
    ]
    if folder.setting("student.target", "rationale") == "both":
        lines.append(
            "- An example is two rows: its answer to one prompt, and its rationale to another."
        )
    if is_chat:
        lines.append(
            "- A chat template may close the last turn with more than the end token that the "
            "student was trained to write, such as a line break."
        )
    return lines


def _size(total: int) -> str:
    """Return the hub's word for a number of examples."""
    below = [name for name, size in _SIZES.items() if size <= total]
    above = [name for name, size in _SIZES.items() if size > total]
    if below and above:
        return f"{below[-1]}<n<{above[0]}"
    return f"n<{above[0]}" if above else f"n>{below[-1]}"


def _by_domain(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a table of the domains, largest first."""
    totals = {domain: sum(sources.values()) for domain, sources in counts.items()}
    order = sorted(totals, key=lambda domain: (-totals[domain], domain))
    rows = [
        [domain, f"{totals[domain]:,}", *(f"{counts[domain].get(s, 0):,}" for s in _SOURCES)]
        for domain in order
    ]
    return markdown_table(["domain", "examples", *_SOURCES], rows)
