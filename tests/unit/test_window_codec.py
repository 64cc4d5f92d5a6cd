"""The ring buffer as bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketstate.worker.engine.window_codec import pack, unpack

TIMES_MS = st.integers(946_684_800_000, 4_102_444_800_000)
CLOSES = st.floats(min_value=5e-324, allow_infinity=False)
CANDLES = st.dictionaries(TIMES_MS, CLOSES).map(lambda found: sorted(found.items()))
T = 1_700_000_040_000 - 1


def test_a_candle_is_16_bytes_little_endian() -> None:
    """G2: other versions and other machines read the same bytes."""
    assert pack([(1700000000000, 1.5)]) == [bytes.fromhex("0068e5cf8b010000000000000000f83f")]
    assert pack([(2**41, 0.1)]) == [struct.pack("<qd", 2**41, 0.1)]


@given(CANDLES)
def test_unpacking_gives_back_every_bit(candles: list[tuple[int, float]]) -> None:
    """G2"""
    times_ms, closes = unpack(b"".join(pack(candles)))
    assert times_ms.tolist() == [time for time, _ in candles]
    assert closes.tolist() == [close for _, close in candles]


def test_no_bytes_are_no_candles() -> None:
    times_ms, closes = unpack(b"")
    assert (times_ms.tolist(), closes.tolist()) == ([], [])


def test_the_unpacked_closes_can_be_modified() -> None:
    _, closes = unpack(b"".join(pack([(T, 2.0)])))
    closes[0] = 3.0
    assert closes.tolist() == [3.0]


@pytest.mark.parametrize(
    ("candle", "found"),
    {
        "NaN": ((T + 60_000, float("nan")), "a close of nan"),
        "infinity": ((T + 60_000, float("inf")), "a close of inf"),
        "0": ((T + 60_000, 0.0), "a close of 0.0"),
        "-0": ((T + 60_000, -0.0), "a close of -0.0"),
        "below 0": ((T + 60_000, -1.0), "a close of -1.0"),
        "the same time": ((T, 1.0), "do not increase"),
        "an earlier time": ((T - 1, 1.0), "do not increase"),
        "the least time": ((-(2**63), 1.0), "a close at -9223372036854775808 ms"),
        "the greatest time": ((2**63 - 1, 1.0), "a close at 9223372036854775807 ms"),
        "a time in seconds": ((T // 1_000, 1.0), f"a close at {T // 1_000} ms"),
    }.values(),
)
def test_what_no_worker_writes_is_refused(candle: tuple[int, float], found: str) -> None:
    """G9"""
    with pytest.raises(ValueError, match=found):
        unpack(b"".join(pack([(T, 1.0), candle])))


@pytest.mark.parametrize("length", [1, 15, 17, 31])
def test_other_bytes_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        unpack(b"x" * length)
