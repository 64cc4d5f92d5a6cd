"""The ring buffer as bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.window_codec import pack, unpack

CANDLES = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)))


def test_a_candle_is_16_bytes_little_endian() -> None:
    """G2: other versions and other machines read the same bytes."""
    assert pack([(1700000000000, 1.5)]) == [bytes.fromhex("0068e5cf8b010000000000000000f83f")]
    assert pack([(2**41, 0.1)]) == [struct.pack("<qd", 2**41, 0.1)]


@given(CANDLES)
def test_unpacking_gives_back_every_bit(candles: list[tuple[int, float]]) -> None:
    """G2"""
    times_ms, closes = unpack(b"".join(pack(candles)))
    # repr distinguishes -0.0 from 0.0; == does not.
    assert repr(times_ms) == repr([time for time, _ in candles])
    assert repr(closes.tolist()) == repr([close for _, close in candles])


def test_no_bytes_are_no_candles() -> None:
    times_ms, closes = unpack(b"")
    assert (times_ms, closes.tolist()) == ([], [])


def test_the_unpacked_closes_can_be_modified() -> None:
    _, closes = unpack(b"".join(pack([(1, 2.0)])))
    closes[0] = 3.0
    assert closes.tolist() == [3.0]


@pytest.mark.parametrize("length", [1, 15, 17, 31])
def test_other_bytes_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        unpack(b"x" * length)
