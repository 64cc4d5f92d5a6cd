"""Published records for tests of their readers."""

from collections.abc import Iterable
from typing import Any

import msgspec
import redis

from marketstate.schemas.market_state import (
    Features,
    MarketStateRecord,
    RegimeProbs,
    TsComponents,
    Windows,
    encode_record,
    hash_fields,
    record_key,
    stream_fields,
)
from marketstate.schemas.reader import OUTPUT_PREFIX, OUTPUT_STREAM
from tests.support.candles import MINUTE_MS, START_MS


def make_record(
    symbol: str,
    number: int,
    regime: str = "chop",
    *,
    close: float = 100.0,
    sigma: float = 0.001,
    ts: float = 0.25,
    spike_proxy: float = 1.0,
    missing: int = 0,
) -> MarketStateRecord:
    """The state after the `number`th 1-minute candle from the start; `buffer_size` is `number`."""
    probs = dict.fromkeys(("trend", "mr", "chop"), 0.2) | {regime: 0.6}
    return MarketStateRecord(
        symbol=symbol,
        interval="1m",
        source="candles",
        close_time_ms=START_MS + (number + 1) * MINUTE_MS - 1,
        close=close,
        sigma=sigma,
        mu=sigma * ts,
        ts=ts,
        regime=regime,
        regime_probs=RegimeProbs(**probs),
        features=Features(dp=0.5, vr=1.0, spike_proxy=spike_proxy),
        windows=Windows(returns_n=299, trend_windows=[64, 128, 256], regime_window=256),
        ts_components=TsComponents(mu_abs=sigma * ts, sigma_used=sigma),
        buffer_size=number,
        theta_hash="0123456789abcdef",
        missing=missing,
    )


def publish(client: redis.Redis, records: Iterable[MarketStateRecord]) -> None:
    """Publish to hash, record and stream, as a worker does."""
    with client.pipeline(transaction=False) as writes:
        for record in records:
            encoded = encode_record(record)
            for_hash: Any = msgspec.structs.asdict(hash_fields(record))
            writes.hset(f"{OUTPUT_PREFIX}{record.symbol}", mapping=for_hash)
            writes.set(record_key(OUTPUT_PREFIX, record.symbol), encoded)
            for_stream: Any = msgspec.structs.asdict(stream_fields(record, encoded))
            writes.xadd(OUTPUT_STREAM, for_stream)
        writes.execute()
