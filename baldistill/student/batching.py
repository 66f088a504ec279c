"""Split the examples of an optimiser step into micro-batches that a token budget bounds.

A micro-batch holds rows of like length, padded on the right (`padded`), or all its examples in one
row that has no padding (`packed`). Neither changes loss or gradient: the loss of a step is the sum
over its target tokens, divided by their number, however they travel. A row may have a `weight`, by
which the losses of its tokens are multiplied.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch

from baldistill.student.encode import EXPLAINED, IGNORED

Row = dict[str, Any]
Layout = Literal["packed", "packed-flash", "padded", "masked"]


def collate(
    rows: Sequence[Row],
    *,
    pad: int,
    budget: int,
    layout: Layout = "padded",
    label_weight: float | None = None,
) -> dict[str, Any]:
    """Make micro-batches of a batch.

    Args:
        rows: `input_ids`, `labels` and, if it is not 1, `weight` of each example.
        pad: Token that fills rows.
        budget: Tokens of a micro-batch, padding included; a longer example is one of its own.
        layout: `padded`: right-padded rows without a mask, which are exact where attention is
            causal: no token sees what is to the right of it. `masked`: the same with a mask.
            `packed`: one row whose positions restart at each example; transformers derives the mask
            from them. `packed-flash`: with the lengths that FlashAttention wants instead.
        label_weight: Of answers in the loss, where examples have explanations apart from them.

    Returns:
        `micro_batches`, and what Trainer counts: `shift_labels`, the target tokens of all of them.
    """
    if label_weight is not None:
        rows = with_explanations(rows, label_weight)
    parts = split(rows, budget, padded=layout in ("padded", "masked"))
    micro_batches = [
        _padded(part, pad, masked=layout == "masked")
        if layout in ("padded", "masked")
        else _packed(part, flash=layout == "packed-flash")
        for part in parts
    ]
    targets = torch.cat([batch["targets"] for batch in micro_batches])
    return {"labels": targets, "shift_labels": targets, "micro_batches": micro_batches}


def with_explanations(rows: Sequence[Row], label_weight: float) -> list[Row]:
    """Make rows of answers and of explanations, with weights that mix the means of their losses.

    The loss of a step is a sum over its tokens, divided by the number n of all of them. The weights
    w n / n_answers and (1 - w) n / n_explanations turn it into w times the mean over the tokens of
    the answers, and 1 - w times the mean over those of the explanations. Otherwise the explanations
    would drown the answers, which have far fewer tokens. A weight that a row had is kept as a
    factor. (Hsieh et al. 2023, distilling step-by-step: `TaskPrefixTrainer.compute_loss`.)
    """
    answers = [{key: row[key] for key in row if key != EXPLAINED} for row in rows]
    explanations = [
        {"weight": row.get("weight", 1.0)} | row[EXPLAINED] for row in rows if EXPLAINED in row
    ]
    num_answers, num_explanations = map(_num_targets, (answers, explanations))
    num_all = num_answers + num_explanations
    shares = (
        (answers, label_weight, num_answers),
        (explanations, 1 - label_weight, num_explanations),
    )
    return [
        {**row, "weight": row.get("weight", 1.0) * share * num_all / max(1, number)}
        for kind, share, number in shares
        for row in kind
    ]


def _num_targets(rows: Sequence[Row]) -> int:
    return sum(label != IGNORED for row in rows for label in row["labels"][1:])


def split(rows: Sequence[Row], budget: int, *, padded: bool) -> list[list[Row]]:
    """Sort by length, longest first, and fill micro-batches up to the budget."""
    parts: list[list[Row]] = []
    size = 0
    for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
        # the first row of a part is its longest, to which the others are padded
        width = len(parts[-1][0]["input_ids"]) if padded and parts else len(row["input_ids"])
        if not parts or size + width > budget:
            parts.append([])
            size, width = 0, len(row["input_ids"])
        parts[-1].append(row)
        size += width
    return parts


def _padded(rows: Sequence[Row], pad: int, *, masked: bool) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in rows)

    def filled(name: str, value: int) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (width - len(row[name])) for row in rows])

    ids, labels = filled("input_ids", pad), filled("labels", IGNORED)
    batch = {"input_ids": ids, **_targets(labels, rows, [width] * len(rows))}
    if masked:
        lengths = torch.tensor([[len(row["input_ids"])] for row in rows])
        batch["attention_mask"] = (torch.arange(width)[None] < lengths).long()
    return batch


def _packed(rows: Sequence[Row], *, flash: bool) -> dict[str, Any]:
    lengths = [len(row["input_ids"]) for row in rows]
    labels = itertools.chain.from_iterable([IGNORED, *row["labels"][1:]] for row in rows)
    batch: dict[str, Any] = {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        **_targets(torch.tensor([list(labels)]), rows, lengths),
    }
    if flash:  # as transformers' DataCollatorWithFlattening names them
        ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
        batch |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}
        batch |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
    return batch


def _targets(
    labels: torch.Tensor, rows: Sequence[Row], widths: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Return targets, the flat index of the position that predicts each, and weights.

    The position before a target predicts the target. There are weights only if some row has one.
    A row takes as many positions as its width.
    """
    following = torch.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]
    selected = (following.flatten() != IGNORED).nonzero().flatten()
    batch = {"selected": selected, "targets": following.flatten()[selected]}
    if any("weight" in row for row in rows):
        weights = torch.tensor([float(row.get("weight", 1.0)) for row in rows])
        batch["weights"] = weights.repeat_interleave(torch.tensor(widths))[selected]
    return batch
