"""States as rows of numbers: how they lie in the parts of a history, until all are there.

A row of fixed length can be found, sorted and cut off without reading the others.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.regime_words import REGIMES

REASONS: Final = ("interval", "regime_change")
NUMBERS: Final = (
    *("close", "sigma", "mu", "ts", "p_trend", "p_mr", "p_chop", "dp", "vr", "spike_proxy"),
)
ROW: Final = np.dtype(
    [
        ("symbol", "<u4"),
        ("interval", "u1"),
        ("regime", "u1"),
        ("reason", "u1"),
        ("close_time", "<i8"),
        *((name, "<f8") for name in NUMBERS),
        ("buffer_size", "<i4"),
        ("missing", "<i8"),
    ]
)
"""Text is a number here: the symbol counts within its part, the interval within its run."""
Rows = NDArray[np.void]

_PACKED: Final = struct.Struct(f"<IBBBq{len(NUMBERS)}diq")
_REGIME_OF: Final = {name: i for i, name in enumerate(REGIMES)}
_REASON_OF: Final = {name: i for i, name in enumerate(REASONS)}


def packed(
    records: Iterable[MarketStateRecord], symbols: dict[str, int], intervals: Mapping[str, int]
) -> bytes:
    """The rows of these records. New symbols are added to `symbols`."""
    rows = []
    for record in records:
        symbol = symbols.setdefault(record.symbol, len(symbols))
        probs, features = record.regime_probs, record.features
        rows.append(
            _PACKED.pack(
                symbol,
                intervals[record.interval],
                _REGIME_OF[record.regime],
                _REASON_OF[record.reason],
                record.close_time_ms,
                record.close,
                record.sigma,
                record.mu,
                record.ts,
                probs.trend,
                probs.mr,
                probs.chop,
                features.dp,
                features.vr,
                features.spike_proxy,
                record.buffer_size,
                record.missing,
            )
        )
    return b"".join(rows)


def as_dicts(rows: Rows, same: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each row by the names of `schemas/history.py`, with what is the `same` in all."""
    for values in zip(*(rows[name].tolist() for name in ROW.names or ()), strict=True):
        row = dict(zip(ROW.names or (), values, strict=True)) | dict(same)
        row["regime"], row["reason"] = REGIMES[row["regime"]], REASONS[row["reason"]]
        yield row
