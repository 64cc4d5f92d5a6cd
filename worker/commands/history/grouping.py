"""Sorts the rows of a part by interval and symbol, on disk: in memory they may have no room.

It counts, and then moves each row to its place: once through the rows for each.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marketstate.worker.commands.history.parts import Group
from marketstate.worker.commands.history.rows import ROW, Rows

ROWS_AT_ONCE: Final = 65_536


def grouped(path: Path, symbols: int) -> list[Group]:
    """The groups in the order that the rows have from now on; within each, they stay in order."""
    counts = np.zeros(0, dtype=np.int64)
    for rows in _chunks(path):
        found = np.bincount(_keys(rows, symbols))
        if len(found) > len(counts):
            counts = np.concatenate([counts, np.zeros(len(found) - len(counts), np.int64)])
        counts[: len(found)] += found
    used = np.flatnonzero(counts)
    if len(used) > 1:
        _move(path, symbols, np.cumsum(counts) - counts)
    return [Group(int(key) // symbols, int(key) % symbols, int(counts[key])) for key in used]


def _move(path: Path, symbols: int, start: NDArray[np.int64]) -> None:
    """`start` has the first place of each key, and is changed."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        for rows in _chunks(path):
            keys = _keys(rows, symbols)
            order = np.argsort(keys, kind="stable")
            in_order, keys = rows[order], keys[order]
            firsts = np.flatnonzero(np.diff(keys, prepend=-1))
            for first, after in zip(firsts, [*firsts[1:], len(keys)], strict=True):
                key, some = keys[first], in_order[first:after]
                os.pwrite(file.fileno(), some.tobytes(), int(start[key]) * ROW.itemsize)
                start[key] += len(some)
        os.fsync(file.fileno())
    new.replace(path)


def _keys(rows: Rows, symbols: int) -> NDArray[np.int64]:
    keys: NDArray[np.int64] = rows["interval"].astype(np.int64) * symbols + rows["symbol"]
    return keys


def _chunks(path: Path) -> Iterator[Rows]:
    with path.open("rb") as file:
        while len(rows := np.fromfile(file, ROW, ROWS_AT_ONCE)):
            yield rows
