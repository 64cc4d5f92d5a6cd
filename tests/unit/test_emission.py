"""When a state is published, and what it is calculated from."""

from itertools import chain

import pytest

from marketstate.core.state import MarketState
from marketstate.core.theta import theta_hash
from marketstate.schemas.market_state import MarketStateRecord
from tests.support.feeding import (
    BTC,
    MINUTE_MS,
    NEEDED,
    SMALL_THETA,
    T0,
    candle_entry,
    closes,
    fed,
    series,
    small_settings,
)


def test_the_first_state_is_published_with_the_minimum_window() -> None:
    assert len(fed(series(NEEDED - 1)).records) == 0
    [record] = fed(series(NEEDED)).records
    state = MarketState(SMALL_THETA).get_state(BTC, closes(NEEDED))
    assert state is not None
    assert (record.sigma, record.mu, record.ts) == (state["sigma"], state["mu"], state["ts"])
    assert (record.symbol, record.interval, record.source) == (BTC, "1m", "candles")
    assert record.close_time_ms == T0 + (NEEDED - 1) * MINUTE_MS
    assert record.close == closes(NEEDED)[-1]
    assert (record.buffer_size, record.windows.returns_n) == (NEEDED, NEEDED - 1)
    assert record.theta_hash == theta_hash(SMALL_THETA)


def test_the_buffer_grows_to_the_window_size_and_no_further() -> None:
    assert [record.buffer_size for record in fed(series(14)).records] == [9, 10, 11, 12, 12, 12]


def minutes_of(records: list[MarketStateRecord]) -> list[int]:
    return [(record.close_time_ms - T0) // MINUTE_MS for record in records]


@pytest.mark.parametrize(
    ("publish_interval", "minutes"),
    [(1, [8, 9, 10, 11, 12, 13]), (60, [8, 9, 10, 11, 12, 13]), (61, [8, 10, 12]), (180, [8, 11])],
)
def test_states_are_an_interval_apart_by_the_candles_clock(
    publish_interval: int, minutes: list[int]
) -> None:
    """G2: wall time does not matter."""
    settings = small_settings(publish_interval=publish_interval)
    assert minutes_of(fed(series(14), settings=settings).records) == minutes


def test_a_gap_counts_as_time() -> None:
    settings = small_settings(publish_interval=180)
    later = candle_entry(99, BTC, T0 + 18 * MINUTE_MS)
    assert minutes_of(fed([*series(10), later], settings=settings).records) == [8, 18]


def test_up_to_the_warm_up_boundary_windows_fill_and_nothing_is_published() -> None:
    assert len(fed(series(12), warm_until=(12, 0)).records) == 0
    changes = fed(series(14), warm_until=(12, 0))
    assert minutes_of(changes.records) == [12, 13]
    assert len(changes.symbols[BTC].closes) == 14


def test_both_numbers_of_the_warm_up_boundary_count() -> None:
    entries = [entry._replace(id=b"5-%d" % i) for i, entry in enumerate(series(14))]
    assert minutes_of(fed(entries, warm_until=(5, 11)).records) == [12, 13]


def test_a_history_comes_before_the_first_candle() -> None:
    """G6"""
    times_ms = [T0 + i * MINUTE_MS for i in range(8)]
    changes = fed(series(1, first=8), histories={BTC: (times_ms, closes(8))})
    assert changes.counters == {"applied": 1, "emitted": 1}
    assert changes.symbols[BTC].closes == closes(9)
    assert changes.symbols[BTC].close_times_ms == [*times_ms, T0 + 8 * MINUTE_MS]
    assert changes.records == fed(series(9)).records


def test_nothing_is_published_for_the_history_itself() -> None:
    times_ms = [T0 + i * MINUTE_MS for i in range(50)]
    changes = fed(series(1, first=50), histories={BTC: (times_ms, closes(50))})
    assert minutes_of(changes.records) == [50]
    assert changes.records[0].buffer_size == 12


def test_each_symbol_of_a_batch_gets_the_states_of_its_own_closes() -> None:
    """G2: they are calculated symbol by symbol, and published in stream order."""
    one, other = series(14), series(14, 3, "ETHUSDT")
    mixed = [
        entry._replace(id=b"%d-0" % number)
        for number, entry in enumerate(chain.from_iterable(zip(one, other, strict=True)), start=1)
    ]
    alone = zip(fed(one).records, fed(other).records, strict=True)
    assert fed(mixed).records == [*chain.from_iterable(alone)]
