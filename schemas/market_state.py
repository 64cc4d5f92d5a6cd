"""The published market state: the record, and the text fields of the hash and the stream.

Readers need one call: `decode_market_state(fields)` takes the fields of a stream entry. For the
latest state of a symbol, see `latest_state` in `schemas/reader.py`.
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
    `missing` is how many candles are missing among those that the state was calculated from.
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
    missing: int = 0


class HashFields(msgspec.Struct, frozen=True):
    """The fields of `quantum:marketstate:<symbol>` in their order, all text.

    Each is short, and the hash has no others: Redis keeps such a hash small and in order. So the
    record has a key of its own, see `record_key`.
    """

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


class StreamFields(msgspec.Struct, frozen=True):
    """The fields of one entry of `quantum:stream:marketstate`, all text."""

    symbol: str
    ts: str
    sigma: str
    mu: str
    regime: str
    timestamp: str
    record: str


class UnknownRecord(ValueError):
    """There is no record, or none that can be read: usually another program wrote it."""


class UnknownSchema(UnknownRecord):
    """A record of another schema version: a later or earlier worker wrote it."""


def record_key(output_prefix: str, symbol: str) -> str:
    """The key of a symbol's latest record, `quantum:marketstate-record:<symbol>`.

    It does not start with the prefix of the hashes, so that their pattern lists symbols only. With
    the prefix of a partition: `quantum:marketstate-record:{p07}:<symbol>`.
    """
    prefix, brace, rest = output_prefix.partition("{")
    return f"{prefix.removesuffix(':')}-record:{brace}{rest}{symbol}"


def encode_record(record: MarketStateRecord) -> str:
    return msgspec.json.encode(record).decode()


def hash_fields(record: MarketStateRecord) -> HashFields:
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
    )


def stream_fields(record: MarketStateRecord, encoded: str) -> StreamFields:
    """`encoded` is `encode_record(record)`."""
    return StreamFields(
        symbol=record.symbol,
        ts=f"{record.ts:.6f}",
        sigma=f"{record.sigma:.8f}",
        mu=f"{record.mu:.8f}",
        regime=record.regime,
        timestamp=str(record.close_time_ms // 1000),
        record=encoded,
    )


def journal_line(record: MarketStateRecord, candle_interval: str = "") -> str:
    """Names the interval of the record if that is not `candle_interval`."""
    probability = getattr(record.regime_probs, record.regime)
    longer = f" {record.interval}" if candle_interval not in ("", record.interval) else ""
    return (
        f"{record.symbol}{longer}: σ={record.sigma:.6f} μ={record.mu:.6f} TS={record.ts:.4f} "
        f"regime={record.regime}({probability:.1%}) buffer={record.buffer_size}"
        + (f" missing={record.missing}" if record.missing else "")
    )


def decode_market_state(fields: Mapping[Any, Any]) -> MarketStateRecord:
    """Decode the full state from the fields of a stream entry, bytes or text.

    Raises UnknownRecord if there is no record that can be read, and UnknownSchema for a record of
    another version.
    """
    encoded = own_record(fields)
    if encoded is None:
        in_hash = "ts_timestamp" in fields or b"ts_timestamp" in fields
        raise UnknownRecord(
            "a hash has no field 'record': call marketstate.schemas.reader.latest_state, which "
            "reads the record"
            if in_hash
            else "it has no field 'record': another program wrote it"
        )
    return decode_record(encoded)


def own_record(fields: Mapping[Any, Any]) -> Any:
    """The field `record`, or None. Stream entries have one. Of hashes, those that a 0.1 worker
    wrote last have one; later workers remove it, so where it is, it is the latest.
    """
    return fields.get("record", fields.get(b"record"))


def decode_record(encoded: bytes | str) -> MarketStateRecord:
    """Raises UnknownRecord, or UnknownSchema for a record of another version."""
    try:
        found = msgspec.json.decode(encoded, type=dict[str, Any]).get("schema")
        if found == SCHEMA_VERSION:
            return msgspec.json.decode(encoded, type=MarketStateRecord)
    except (ValueError, RecursionError) as error:
        raise UnknownRecord(f"its record cannot be read: {error}") from error
    if type(found) is not int:
        raise UnknownRecord(f"its record cannot be read: its schema is {found!r}, not a number")
    raise UnknownSchema(
        f"its record has schema {found}; this version reads {SCHEMA_VERSION}: "
        "install the version of marketstate-worker that matches the worker"
    )
