"""How fresh the states of longer intervals are, by the marks of their symbols."""

import msgspec

from marketstate.worker.engine.freshness import status_of, summed_intervals
from marketstate.worker.settings import settings_from

NOW_MS = 1_764_122_700_000
[FIVE_MINUTES] = settings_from({"MARKETSTATE_INTERVALS": "1m,5m"}).longer
MINUTE_MS = 60_000


def mark(age_ms: int) -> bytes:
    return str(NOW_MS - age_ms).encode()


def test_a_symbol_that_has_ended_no_candle_of_the_interval_is_filling() -> None:
    base = [{b"ADAUSDT": b"0", b"BTCUSDT": mark(0)}, {b"ETHUSDT": mark(0), b"SOLUSDT": mark(0)}]
    longer = [{b"BTCUSDT": mark(10 * MINUTE_MS)}, {b"ETHUSDT": mark(11 * MINUTE_MS)}]
    counters = {"emitted": 9, "emitted.5m": 3, "gap.5m": 2, "restarted.5m": 1}
    found = status_of(FIVE_MINUTES, base, longer, counters, NOW_MS)
    assert (found.fresh, found.stale, found.filling) == (1, 1, 2)
    assert (found.emitted, found.gaps, found.restarted) == (3, 2, 1)
    assert (found.interval, found.age_s) == ("5m", 600)


def test_the_newest_state_of_all_partitions_is_that_of_their_sum() -> None:
    base = [{b"BTCUSDT": mark(0)}]
    none, older, newer = (
        status_of(FIVE_MINUTES, base, [of_shard], {"emitted.5m": 2}, NOW_MS)
        for of_shard in ({}, {b"BTCUSDT": mark(20 * MINUTE_MS)}, {b"BTCUSDT": mark(MINUTE_MS)})
    )
    [found] = summed_intervals([[none], [newer], [older]])
    wanted = {"emitted": 6, "fresh": 1, "stale": 1, "filling": 1}
    assert found == msgspec.structs.replace(newer, **wanted)
