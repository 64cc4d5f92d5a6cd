"""Candles for tests: generated ones with the results of the oracle, and real ones if the folder
`shared` exists next to the project.
"""

import csv
import gzip
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from marketstate.core.theta import DEFAULT_THETA
from marketstate.schemas.candle import Candle, encode_envelope
from marketstate.worker.files.candles.file import read_file
from marketstate.worker.files.candles.names import find_files
from tests.support.oracle import oracle_state

SHARED: Final = Path(__file__).resolve().parents[3] / "shared"
START_MS: Final = 1_746_373_200_000
MINUTE_MS: Final = 60_000
RING: Final = 300
NEEDED: Final = 257

Rows = dict[str, list[dict[str, str]]]


def made_candles(symbols: Iterable[str], count: int, seed: int = 7) -> list[Candle]:
    """`count` candles of each symbol, interleaved by time: walks of rounded prices, with ties."""
    rng = np.random.RandomState(seed)
    walks = {
        symbol: np.round(100 * np.exp(np.cumsum(rng.standard_normal(count) * 0.0004)), 2)
        for symbol in symbols
    }
    return [
        candle(symbol, i, float(walk[i])) for i in range(count) for symbol, walk in walks.items()
    ]


def closing_now(candles: Sequence[Candle], ago_ms: int = 0) -> list[Candle]:
    """The same candles, shifted in time so that the last one closes now, or so long ago."""
    shift_ms = int(time.time() * 1_000) - ago_ms - candles[-1].close_time
    return [msgspec.structs.replace(one, close_time=one.close_time + shift_ms) for one in candles]


def candle(symbol: str, number: int, close: float) -> Candle:
    """The `number`th 1-minute candle from the start."""
    open_time = START_MS + number * MINUTE_MS
    return Candle(
        symbol=symbol,
        interval="1m",
        open=close,
        high=close,
        low=close,
        close=close,
        volume=1.0,
        open_time=open_time,
        close_time=open_time + MINUTE_MS - 1,
    )


def real_candles(count: int) -> list[Candle]:
    """The first `count` candles of each symbol in shared/data, interleaved by time."""
    by_symbol = [
        [read.candle for read in islice(read_file(path), count)]
        for path in find_files(SHARED / "data")
    ]
    return [one for step in zip(*by_symbol, strict=True) for one in step]


def expected_by_oracle(candles: Iterable[Candle]) -> Rows:
    """What is published for each symbol, as text, calculated by the oracle."""
    closes: dict[str, list[float]] = {}
    rows: Rows = {}
    for one in candles:
        window = closes.setdefault(one.symbol, [])
        window.append(one.close)
        state: Any = (
            oracle_state(window[-RING:], dict(DEFAULT_THETA)) if len(window) >= NEEDED else None
        )
        if state is not None:
            rows.setdefault(one.symbol, []).append(_row(one, state, min(len(window), RING)))
    return rows


def expected_real() -> Rows:
    """shared/golden's reference: the fields after each of the first 900 candles."""
    rows: Rows = {}
    path = SHARED / "golden" / "candles_first900.expected.csv.gz"
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["symbol"], []).append(row)
    return rows


def _row(one: Candle, state: Any, buffer_size: int) -> dict[str, str]:
    probs, features = state["regime_probs"], state["features"]
    return {
        "symbol": one.symbol,
        "close_time_ms": str(one.close_time),
        "sigma": f"{state['sigma']:.8f}",
        "mu": f"{state['mu']:.8f}",
        "ts": f"{state['ts']:.6f}",
        "p_trend": f"{probs['trend']:.6f}",
        "p_mr": f"{probs['mr']:.6f}",
        "p_chop": f"{probs['chop']:.6f}",
        "dp": f"{features['dp']:.6f}",
        "vr": f"{features['vr']:.6f}",
        "spike_proxy": f"{features['spike_proxy']:.6f}",
        "buffer_size": str(buffer_size),
        "regime": max(("trend", "mr", "chop"), key=lambda name: probs[name]),
    }


def as_envelope(one: Candle) -> dict[str, str | bytes]:
    return encode_envelope(one, source="test")


def as_flat(one: Candle) -> dict[str, str]:
    return {name: str(value) for name, value in msgspec.structs.asdict(one).items()}


def as_kline_event(one: Candle) -> dict[str, bytes]:
    """A raw Binance event with prices as strings; every second one in the stream wrapper."""
    kline = {
        "t": one.open_time,
        "T": one.close_time,
        "s": one.symbol,
        "i": one.interval,
        "o": str(one.open),
        "c": str(one.close),
        "h": str(one.high),
        "l": str(one.low),
        "v": str(one.volume),
        "n": 10,
        "x": True,
    }
    event = {"e": "kline", "E": one.close_time + 5, "s": one.symbol, "k": kline}
    if one.close_time // MINUTE_MS % 2:
        return {"data": msgspec.json.encode(event)}
    wrapper = {"stream": f"{one.symbol.lower()}@kline_1m", "data": event}
    return {"payload": msgspec.json.encode(wrapper)}


def as_own(one: Candle) -> dict[str, bytes]:
    """Our own Candle, alternating between JSON and MessagePack."""
    codec = msgspec.json if one.close_time // MINUTE_MS % 2 else msgspec.msgpack
    return {"data": codec.encode(one)}


def as_cryptofeed(one: Candle) -> dict[str, str]:
    """As its Redis stream back end writes what an exchange says of a candle; `stop` is the next
    open for every second one.
    """
    assert one.open_time is not None
    stop_ms = one.close_time + (one.close_time // MINUTE_MS % 2)
    return {
        "exchange": "BINANCE",
        "symbol": one.symbol,
        "start": repr(one.open_time / 1_000),
        "stop": repr(stop_ms / 1_000),
        "interval": str(one.interval),
        "trades": "None",
        **{name: repr(getattr(one, name)) for name in ("open", "close", "high", "low", "volume")},
        "closed": str(one.is_closed),
        "timestamp": repr((one.close_time + 21) / 1_000),
        "receipt_timestamp": repr((one.close_time + 82) / 1_000),
    }


FORMS: Final[dict[str, Any]] = {
    "envelope": as_envelope,
    "flat": as_flat,
    "kline event": as_kline_event,
    "own": as_own,
    "cryptofeed": as_cryptofeed,
}
