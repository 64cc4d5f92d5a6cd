"""How a ring buffer is stored in Redis: a list with 16 bytes per candle.

The close time in ms as int64, then the close as float64, both little-endian.
"""

import struct
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from marketstate.schemas.times import EARLIEST_MS, LATEST_MS

_CANDLE: Final = np.dtype([("close_time_ms", "<i8"), ("close", "<f8")])
_CANDLE_STRUCT: Final = struct.Struct("<qd")


def pack(candles: Iterable[tuple[int, float]]) -> list[bytes]:
    return [_CANDLE_STRUCT.pack(*candle) for candle in candles]


def unpack(packed: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Close times in ms and closes of concatenated candles, oldest first.

    Raises ValueError if these are not candles that a worker has written.
    """
    candles = np.frombuffer(packed, dtype=_CANDLE)
    times_ms = candles["close_time_ms"].astype(np.int64)
    closes = candles["close"].astype(np.float64)
    # In few steps, since a worker loads thousands of windows; a NaN fails every comparison.
    if candles.size and not (
        closes.min() > 0
        and closes.max() < np.inf
        and times_ms[0] >= EARLIEST_MS
        and times_ms[-1] <= LATEST_MS
        and (times_ms[1:] > times_ms[:-1]).all()
    ):
        raise ValueError(_fault(times_ms, closes))
    return times_ms, closes


def _fault(times_ms: npt.NDArray[np.int64], closes: npt.NDArray[np.float64]) -> str:
    bad_closes = closes[~((closes > 0) & (closes < np.inf))]
    if bad_closes.size:
        return f"it has a close of {bad_closes[0]}"
    bad_times = times_ms[(times_ms < EARLIEST_MS) | (times_ms > LATEST_MS)]
    if bad_times.size:
        return f"it has a close at {bad_times[0]} ms"
    return "its close times do not increase"
