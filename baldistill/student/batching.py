"""Split the examples of an optimiser step into micro-batches that a token budget bounds.

A micro-batch holds rows of like length, padded on the right (`padded`), or all its examples in one
row that has no padding (`packed`). Neither changes loss or gradient: the loss of a step is the sum
over its target tokens, divided by their number, however they travel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import torch

from baldistill.student.encode import IGNORED

Row = dict[str, list[int]]
Layout = Literal["packed", "packed-flash", "padded", "masked"]


def collate(
    rows: Sequence[Row], *, pad: int, budget: int, layout: Layout = "padded"
) -> dict[str, Any]:
    """Make micro-batches of a batch.

    Args:
        rows: `input_ids` and `labels` of each example.
        pad: Token that fills rows.
        budget: Tokens of a micro-batch, padding included; a longer example is one of its own.
        layout: `padded`: right-padded rows without a mask, which are exact where attention is
            causal: no token sees what is to the right of it. `masked`: the same with a mask.
            `packed`: one row whose positions restart at each example; transformers derives the mask
            from them. `packed-flash`: with the lengths that FlashAttention wants instead.

    Returns:
        `micro_batches`, and what Trainer counts: `shift_labels`, the target tokens of all of them.
    """
    parts = split(rows, budget, padded=layout in ("padded", "masked"))
    micro_batches = [
        _padded(part, pad, masked=layout == "masked")
        if layout in ("padded", "masked")
        else _packed(part, flash=layout == "packed-flash")
        for part in parts
    ]
    targets = torch.cat([batch["targets"] for batch in micro_batches])
    return {"labels": targets, "shift_labels": targets, "micro_batches": micro_batches}


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
    batch = {"input_ids": ids, **_targets(labels)}
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
        **_targets(torch.tensor([list(labels)])),
    }
    if flash:  # as transformers' DataCollatorWithFlattening names them
        ends = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
        batch |= {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}
        batch |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
    return batch


def _targets(labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Targets, and the flat index of the position that predicts each: the one before it."""
    following = torch.full_like(labels, IGNORED)
    following[:, :-1] = labels[:, 1:]
    selected = (following.flatten() != IGNORED).nonzero().flatten()
    return {"selected": selected, "targets": following.flatten()[selected]}
