"""Older closes from caches: which closes a window begins with, and what goes in front of them."""

from collections.abc import Sequence

import pytest

from marketstate.core.window import Window
from marketstate.schemas.longer import TimedClose
from marketstate.worker.engine.changes import Changes, History, Memory
from marketstate.worker.engine.pipeline import Pipeline
from tests.support.feeding import BTC, MINUTE_MS, T0, candle_entry, small_settings

INTERVALS = {"1m": 1, "5m": 5, "15m": 15}
# The end of a candle of each.
START_MS = T0 + MINUTE_MS


def closes_at(*minutes: int) -> list[TimedClose]:
    return [(START_MS + minute * MINUTE_MS, 100.0 + minute / 8) for minute in minutes]


class Caches:
    """Of these intervals: `n` closes in front of any, and behind them, so many are `missing`."""

    def __init__(self, *intervals: str, n: int = 3, missing: int = 0) -> None:
        self._intervals = intervals
        self._n = n
        self._missing = missing
        self.asked: list[tuple[str, list[TimedClose]]] = []

    def __call__(self, _symbol: str, interval: str, closes: Sequence[TimedClose]) -> History:
        self.asked.append((interval, [*closes]))
        if interval not in self._intervals:
            return (), ()
        older = older_than(closes[0], interval, self._n + self._missing)[: self._n]
        return [time_ms for time_ms, _ in older], [close for _, close in older]


def older_than(first: TimedClose, interval: str, n: int) -> list[TimedClose]:
    minute = (first[0] - START_MS) // MINUTE_MS
    return closes_at(*(minute - i * INTERVALS[interval] for i in range(n, 0, -1)))


def memory(*minutes: int, lacks: bool = False) -> Memory:
    window = Window(12)
    times_ms, closes = map(list, zip(*closes_at(*minutes), strict=True))
    window.extend(times_ms, closes)
    return Memory(window, lacks_closes=lacks)


def advanced(caches: Caches, known: Memory, *minutes: int) -> Changes:
    pipeline = Pipeline(small_settings(intervals="1m,5m,15m", max_gap=3), (0, 0))
    entries = [candle_entry(i, BTC, *one) for i, one in enumerate(closes_at(*minutes), start=1)]
    return pipeline.advance(pipeline.read(entries), lambda *_: known, caches)


def window_of(interval: str, changes: Changes) -> list[TimedClose]:
    return changes.longer[interval][BTC].all_closes


def test_with_a_candle_that_completes_the_shorter_window_longer_ones_begin_that_do_not_end() -> (
    None
):
    """That candle ends one of 5m. The cache of 1m has the end of one of 15m."""
    caches = Caches("1m", "15m")
    changes = advanced(caches, memory(3, 4, lacks=True), 5)
    assert caches.asked == [
        ("1m", closes_at(3, 4, 5)),
        ("5m", closes_at(0, 5)),
        ("15m", closes_at(0)),
    ]
    assert window_of("5m", changes) == closes_at(0, 5)
    assert window_of("15m", changes) == closes_at(-45, -30, -15, 0)


@pytest.mark.parametrize("lacks", [False, True])
def test_a_loaded_window_that_lacks_closes_gets_those_that_any_other_gets(lacks: bool) -> None:
    """G2: the one in progress, too, when the shorter window starts over with a full cache."""
    known = memory(*range(6, 18))
    known.longer["15m"] = memory(0, 15, lacks=lacks)
    changes = advanced(Caches("1m", "15m", n=12), known, 78)
    [in_progress] = closes_at(17)
    expected = [*closes_at(0, 15), (START_MS + 30 * MINUTE_MS, in_progress[1]), *closes_at(75)]
    older = older_than(expected[0], "15m", 12) if lacks else []
    assert window_of("15m", changes) == [*older, *expected]
    assert changes.counters["restarted.15m"] == 0


@pytest.mark.parametrize("starts_over", [False, True])
@pytest.mark.parametrize("missing", [0, 1])
def test_what_is_missing_behind_the_closes_of_a_cache_is_a_gap(
    missing: int, starts_over: bool
) -> None:
    """Unless the window starts over, which is one already."""
    known = memory(3, 4)
    if starts_over:
        known.longer["5m"] = memory(-120, -115)
    changes = advanced(Caches("5m", missing=missing), known, 5)
    assert len(window_of("5m", changes)) == 4
    assert changes.counters["gap.5m"] == (1 if starts_over else missing)
    assert changes.counters["restarted.5m"] == starts_over
