"""The published market state: the record, and the text fields of the hash and the stream.

Readers need one call: `decode_market_state(fields)` takes the fields from HGETALL or XRANGE.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

SCHEMA_VERSION: Final = 1


class RegimeProbs(msgspec.Struct, frozen=True):
    trend: float
    mr: float
    chop: float


class Features(msgspec.Struct, frozen=True):
    dp: float
    vr: float
    spike_proxy: float


class Windows(msgspec.Struct, frozen=True):
    returns_n: int
    trend_windows: list[int]
    regime_window: int


class TsComponents(msgspec.Struct, frozen=True):
    mu_abs: float
    sigma_used: float


class MarketStateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one symbol after one close, at full precision.

    sigma and mu are per candle, in log price; ts and the rest are dimensionless. `source` is
    `candles`, or `synthetic` for synthetic prices. `reason` is why the state was published:
    `interval` if it was due, `regime_change` if it was not due but the regime had changed.
    """

    schema: int = SCHEMA_VERSION
    symbol: str
    interval: str
    source: str
    close_time_ms: int
    close: float
    sigma: float
    mu: float
    ts: float
    regime: str
    regime_probs: RegimeProbs
    features: Features
    windows: Windows
    ts_components: TsComponents
    buffer_size: int
    theta_hash: str
    reason: str = "interval"


class HashFields(msgspec.Struct, frozen=True):
    """The fields of `quantum:marketstate:<symbol>`, all text."""

    sigma: str
    mu: str
    ts: str
    p_trend: str
    p_mr: str
    p_chop: str
    dp: str
    vr: str
    spike_proxy: str
    ts_timestamp: str
    buffer_size: str
    record: str


class StreamFields(msgspec.Struct, frozen=True):
    """The fields of one entry of `quantum:stream:marketstate`, all text."""

    symbol: str
    ts: str
    sigma: str
    mu: str
    regime: str
    timestamp: str
    record: str


class UnknownSchema(ValueError):
    """A record that this version cannot read."""


def encode_record(record: MarketStateRecord) -> str:
    return msgspec.json.encode(record).decode()


def hash_fields(record: MarketStateRecord, encoded: str) -> HashFields:
    """`encoded` is `encode_record(record)`, which the hash and the stream share."""
    return HashFields(
        sigma=f"{record.sigma:.8f}",
        mu=f"{record.mu:.8f}",
        ts=f"{record.ts:.6f}",
        p_trend=f"{record.regime_probs.trend:.6f}",
        p_mr=f"{record.regime_probs.mr:.6f}",
        p_chop=f"{record.regime_probs.chop:.6f}",
        dp=f"{record.features.dp:.6f}",
        vr=f"{record.features.vr:.6f}",
        spike_proxy=f"{record.features.spike_proxy:.6f}",
        ts_timestamp=str(record.close_time_ms // 1000),
        buffer_size=str(record.buffer_size),
        record=encoded,
    )


def stream_fields(record: MarketStateRecord, encoded: str) -> StreamFields:
    return StreamFields(
        symbol=record.symbol,
        ts=f"{record.ts:.6f}",
        sigma=f"{record.sigma:.8f}",
        mu=f"{record.mu:.8f}",
        regime=record.regime,
        timestamp=str(record.close_time_ms // 1000),
        record=encoded,
    )


def journal_line(record: MarketStateRecord) -> str:
    probability = getattr(record.regime_probs, record.regime)
    return (
        f"{record.symbol}: σ={record.sigma:.6f} μ={record.mu:.6f} TS={record.ts:.4f} "
        f"regime={record.regime}({probability:.1%}) buffer={record.buffer_size}"
    )


def decode_market_state(fields: Mapping[Any, Any]) -> MarketStateRecord:
    """Decode the full state from the fields of the hash or of a stream entry, bytes or text.

    Raises KeyError if there is no `record` field, UnknownSchema for a record of another version,
    and msgspec.DecodeError for a damaged record.
    """
    encoded = fields["record"] if "record" in fields else fields[b"record"]
    found = msgspec.json.decode(encoded, type=dict[str, Any]).get("schema")
    if found != SCHEMA_VERSION:
        raise UnknownSchema(
            f"record has schema {found!r}; this version reads {SCHEMA_VERSION}: "
            "install the version of schemas that matches the worker"
        )
    return msgspec.json.decode(encoded, type=MarketStateRecord)
