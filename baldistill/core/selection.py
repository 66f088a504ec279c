"""Select examples by a score and a top-k, block by block, without shuffling the corpus.

Source: BalDistill (arXiv 2406.13114), section 3: inputs are ranked by IFD, the highest are taken.
Random selection takes a hash of (seed, example id) as score; IFD is another score. The top-k
of each domain is taken within a block, and again over the blocks' results: the operation is
associative and does not depend on the order of rows, so any number of workers gives one result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Strings: TypeAlias = pa.Array | pa.ChunkedArray | npt.NDArray[Any] | Sequence[str]
"""A column of strings in any of these forms."""


def hash_score(seed: int, example_ids: Strings) -> npt.NDArray[np.float64]:
    """Return a uniform score in [0, 1) for each id; (seed, id) alone fixes it.

    The score is the same on every machine, process and library version. The k highest are a
    random sample of k rows. The orders of two seeds are unrelated.

    Args:
        seed: Any whole number that fits 64 bits.
        example_ids: Strings, shape (num_rows,).

    Returns:
        Shape (num_rows,), float64, multiples of 2^-53.

    Raises:
        ValueError: An id is null or not a string.
    """
    words, starts, lengths = _string_words(example_ids)
    state = _mix(np.uint64((seed + _GOLDEN) & 0xFFFF_FFFF_FFFF_FFFF)) ^ lengths.astype(np.uint64)
    state = _mix(state)
    rows = np.arange(len(lengths))
    for begin in range(0, int(lengths.max(initial=0)), 8):
        if (lengths <= begin).any():
            rows = rows[lengths[rows] > begin]
        word = words[starts[rows] + begin]
        spare_bits = 8 * np.maximum(0, begin + 8 - lengths[rows]).astype(np.uint64)
        word &= ~np.uint64(0) >> spare_bits
        state[rows] = _mix(state[rows] ^ word)
    score: npt.NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return score


def partial_top_k(table: pa.Table, score: str, k: Mapping[str, int]) -> pa.Table:
    """Keep the k[domain] highest-scored rows of each domain.

    Rows of equal score rank by id. A score that is null or NaN ranks last: such a row is taken
    only when nothing else fills the quota. Ids must be unique for the result to be determined.

    Args:
        table: Any table with `domain`, `example_id` and the score; other columns come along.
        score: Name of a numeric column.
        k: Rows to keep per domain. A domain that is not named (or null) is dropped.

    Returns:
        Rows of `table`, sorted by domain and rank, with its schema.

    Raises:
        ValueError: A column is missing.
    """
    missing = [name for name in (score, "domain", "example_id") if name not in table.column_names]
    if missing:
        raise ValueError(f"no column {missing} to select by; the table has {table.column_names}")
    names = sorted(name for name, quota in k.items() if quota > 0)
    limits = np.array([k[name] for name in names], dtype=np.int64)
    codes = pc.index_in(_as_strings(table["domain"]), pa.array(names, pa.large_string()))
    wanted = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
    group = codes.take(pa.array(wanted)).to_numpy(zero_copy_only=False).astype(np.int64)
    value = _scores(table[score].take(pa.array(wanted)))

    contending = _contending(group, value, limits)
    wanted, group, value = wanted[contending], group[contending], value[contending]
    order = _rank_order(group, value, _as_strings(table["example_id"].take(pa.array(wanted))))
    group = group[order]
    in_top_k = _position_in_group(group) < limits[group]
    return table.take(pa.array(wanted[order][in_top_k]))


def merge_top_k(partial_results: Iterable[pa.Table], score: str, k: Mapping[str, int]) -> pa.Table:
    """Merge the partial results of several blocks; the arguments are `partial_top_k`'s.

    Raises:
        ValueError: There are no partial results, or as `partial_top_k`.
    """
    tables = list(partial_results)
    if not tables:
        raise ValueError("nothing to merge: no block gave a partial result")
    return partial_top_k(pa.concat_tables(tables), score, k)


_GOLDEN = 0x9E37_79B9_7F4A_7C15


def _mix(value: Any) -> Any:
    """Apply splitmix64's finaliser (Steele et al. 2014): a bijection that spreads every bit."""
    with np.errstate(over="ignore"):
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return value ^ (value >> np.uint64(31))


def _string_words(
    strings: Strings,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the little-endian 64-bit word that begins at every byte of a string column.

    Returns:
        The words, one per byte of the buffer, and the start and length of each string in it.
    """
    array = _as_strings(strings)
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} example ids are null")
    _, offsets_buffer, data_buffer = array.buffers()
    num_offsets = array.offset + len(array) + 1
    if offsets_buffer is None or len(array) == 0:
        offsets = np.zeros(1, dtype=np.int64)
    else:
        offsets = np.frombuffer(offsets_buffer, np.int64, num_offsets)[array.offset :]
    first, last = int(offsets[0]), int(offsets[-1])
    used = bytes(data_buffer[first:last]) if data_buffer is not None else b""
    words: npt.NDArray[np.uint64] = np.ndarray(
        shape=(len(used) + 1,), dtype="<u8", buffer=used + bytes(8), strides=(1,)
    )
    return words, offsets[:-1] - first, np.diff(offsets)


def _as_strings(strings: Strings) -> pa.Array:
    """Return one contiguous large_string array (64-bit offsets)."""
    if not isinstance(strings, pa.Array | pa.ChunkedArray):
        strings = pa.array(strings)
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.cast(pa.large_string()) if _is_text(strings.type) else strings
        strings = strings.combine_chunks()
    if pa.types.is_null(strings.type) or _is_text(strings.type):
        return strings.cast(pa.large_string())
    raise ValueError(f"domains and example ids must be strings, not {strings.type}")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _scores(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return scores as float64: NaN for null, and 0 for -0, which would not tie with 0."""
    values: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy().astype(np.float64)
    return values + 0.0


def _contending(
    group: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
    limits: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Mark the rows that score at least as high as their domain's k-th row.

    This is cheap, since it does not look at the ids. Only the marked rows are sorted by id.
    """
    unscored = np.isnan(value)
    height = np.where(unscored, 0.0, value)
    order = np.lexsort((-height, unscored, group))
    sizes = np.bincount(group, minlength=len(limits))
    kth = np.cumsum(sizes) - sizes + np.minimum(sizes, limits) - 1
    kth_row = order[kth[group]]
    reached = ~unscored & (height >= height[kth_row])
    return np.asarray(unscored[kth_row] | reached, dtype=np.bool_)


def _rank_order(
    group: npt.NDArray[np.int64], value: npt.NDArray[np.float64], ids: pa.Array
) -> npt.NDArray[np.int64]:
    """Return the row numbers sorted by group, then highest value first, then id."""
    unscored = np.isnan(value)
    keys = {"group": group, "unscored": unscored, "height": np.where(unscored, 0.0, value)}
    sort_keys = [
        ("group", "ascending"),
        ("unscored", "ascending"),
        ("height", "descending"),
        ("id", "ascending"),
    ]
    order = pc.sort_indices(pa.table({**keys, "id": ids}), sort_keys=sort_keys)
    return np.asarray(order.to_numpy(), dtype=np.int64)


def _position_in_group(group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return 0, 1, 2, ... within each run of equal values of a sorted array."""
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else group[:0]
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))
