"""One worker, from the input stream to every published field, on real Redis servers."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import decode_market_state, hash_fields, record_key
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import (
    FORMS,
    SHARED,
    Rows,
    as_envelope,
    expected_by_oracle,
    expected_real,
    made_candles,
    real_candles,
)
from tests.support.worker_process import (
    WorkerProcess,
    counters,
    feed_fields,
    group_info,
    published,
    wait_until_finished,
)

HASH_COLUMNS = (
    *("sigma", "mu", "ts", "p_trend", "p_mr", "p_chop", "dp", "vr", "spike_proxy"),
    "buffer_size",
)
SOURCES = ("made", "real") if SHARED.exists() else ("made",)


@pytest.fixture(scope="module")
def made() -> tuple[list[Candle], Rows]:
    candles = made_candles(("BTCUSDT", "ETHUSDT", "1000PEPEUSDT"), 290)
    return candles, expected_by_oracle(candles)


@pytest.fixture(scope="module", params=SOURCES)
def case(
    request: pytest.FixtureRequest, made: tuple[list[Candle], Rows]
) -> tuple[list[Candle], Rows]:
    return made if request.param == "made" else (real_candles(900), expected_real())


def expected_stream_fields(row: dict[str, str]) -> dict[str, str]:
    return {
        **{name: row[name] for name in ("symbol", "ts", "sigma", "mu", "regime")},
        "timestamp": str(int(row["close_time_ms"]) // 1_000),
    }


def expected_hash_fields(row: dict[str, str]) -> dict[str, str]:
    return {
        **{name: row[name] for name in HASH_COLUMNS},
        "ts_timestamp": str(int(row["close_time_ms"]) // 1_000),
    }


def text(fields: Any) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in fields.items() if name != b"record"}


def state_of(client: redis.Redis, symbol: str) -> Any:
    return client.hgetall(f"quantum:marketstate:{symbol}")


@pytest.mark.parametrize("form", FORMS)
def test_candles_in_every_input_form_give_exactly_the_expected_output(
    form: str,
    case: tuple[list[Candle], Rows],
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
) -> None:
    """G2, G3: every stream field and hash field, nothing missing, nothing repeated."""
    candles, rows = case
    with WorkerProcess(server.port, tmp_path) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        feed_fields(client, map(FORMS[form], candles))
        wait_until_finished(client, len(candles))
        assert worker.terminate() == 0
    emitted = {"applied": len(candles), "emitted": sum(map(len, rows.values()))}
    assert counters(client) == emitted
    assert rows.keys() == published(client).keys()
    for symbol, entries in published(client).items():
        assert [text(fields) for fields in entries] == [
            expected_stream_fields(row) for row in rows[symbol]
        ]
        records = [decode_market_state(fields) for fields in entries]
        assert [msgspec.structs.asdict(hash_fields(record)) for record in records] == [
            expected_hash_fields(row) for row in rows[symbol]
        ]
        assert text(state_of(client, symbol)) == expected_hash_fields(rows[symbol][-1])
        assert client.get(record_key("quantum:marketstate:", symbol)) == entries[-1][b"record"]
    assert (
        group_info(client)["pending"],
        client.xlen(b"quantum:stream:market.klines"),
    ) == (0, len(candles))


def test_the_hash_holds_the_state_after_every_candle(
    made: tuple[list[Candle], Rows], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    candles, rows = made
    by_time = {(row["symbol"], row["close_time_ms"]): row for many in rows.values() for row in many}
    symbols = len(rows)
    with WorkerProcess(server.port, tmp_path):
        for first in range(0, len(candles), symbols):
            step = candles[first : first + symbols]
            feed_fields(client, map(as_envelope, step))
            wait_until_finished(client, first + symbols)
            for one in step:
                row = by_time.get((one.symbol, str(one.close_time)))
                expected = {} if row is None else expected_hash_fields(row)
                assert text(state_of(client, one.symbol)) == expected
