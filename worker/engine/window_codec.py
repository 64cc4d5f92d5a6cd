"""How a ring buffer is stored in Redis: a list with 16 bytes per candle.

The close time in ms as int64, then the close as float64, both little-endian.
"""

import struct
from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

_CANDLE: Final = np.dtype([("close_time_ms", "<i8"), ("close", "<f8")])
_CANDLE_STRUCT: Final = struct.Struct("<qd")


def pack(candles: Iterable[tuple[int, float]]) -> list[bytes]:
    return [_CANDLE_STRUCT.pack(*candle) for candle in candles]


def unpack(packed: bytes) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Close times in ms and closes of concatenated candles, oldest first.

    Raises ValueError if the length is not a multiple of a candle.
    """
    candles = np.frombuffer(packed, dtype=_CANDLE)
    return candles["close_time_ms"].tolist(), candles["close"].astype(np.float64)
