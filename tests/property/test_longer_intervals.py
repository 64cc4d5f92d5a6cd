"""States of longer intervals, from the candles of a shorter one: compared with plain rules."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import Final

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from marketstate.core.window import Window
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.longer import longer_interval, resampled
from marketstate.schemas.market_state import decode_record, encode_record
from marketstate.worker.engine.changes import Changes, Entry, Memory, no_caches
from marketstate.worker.engine.mark import Mark
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.settings import Settings
from tests.support.feeding import BTC, MINUTE_MS, T0, Twin, candle_entry, fed, small_settings

INTERVALS: Final = ("2m", "3m", "5m", "15m", "30m")
ALL: Final = ",".join(["1m", *INTERVALS])
MONDAY_MS: Final = 4 * 86_400_000
RETIRE_AFTER: Final = ("60m", "never")

# Minutes to the next candle, ms by which its close time is off, and its close.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([1] * 20 + [2, 3, 4, 6, 7, 16, 31, 59, 60, 100]),
        st.sampled_from([0] * 8 + [1, -1, 20_000, -20_000]),
        st.sampled_from([100.0, 100.5, 101.0]) | st.floats(1e-3, 1e6),
    ),
    min_size=20,
    max_size=200,
)


def candles_of(steps: Sequence[tuple[int, int, float]]) -> list[tuple[int, float]]:
    """Those that are applied: two that are closer than half a minute are one."""
    found: list[tuple[int, float]] = []
    minute = 0
    for minutes, off_ms, close in steps:
        minute += minutes
        time_ms = T0 + minute * MINUTE_MS + off_ms
        if not found or time_ms - found[-1][0] >= MINUTE_MS / 2:
            found.append((time_ms, close))
    return found


def entries_of(candles: Sequence[tuple[int, float]], interval: str = "1m") -> list[Entry]:
    return [
        candle_entry(number, BTC, time_ms, close, interval=interval)
        for number, (time_ms, close) in enumerate(candles, start=1)
    ]


def by_plain_rules(candles: Sequence[tuple[int, float]], length_ms: int) -> list[tuple[int, float]]:
    """All candles of a longer one together; the newest does not count until something ends it."""

    def minute_of(candle: tuple[int, float]) -> int:
        return round(candle[0] / MINUTE_MS)

    def longer_of(candle: tuple[int, float]) -> int:
        return -(-minute_of(candle) * MINUTE_MS // length_ms)

    found = []
    for number, group in groupby(candles, longer_of):
        last = list(group)[-1]
        end_ms = number * length_ms
        if minute_of(last) * MINUTE_MS == end_ms or last is not candles[-1]:
            found.append((last[0] - minute_of(last) * MINUTE_MS + end_ms, last[1]))
    return found


def lives_of(
    candles: Sequence[tuple[int, float]], retire_after_ms: float
) -> list[list[tuple[int, float]]]:
    lives = [[candles[0]]]
    for before, after in pairwise(candles):
        if after[0] - before[0] >= retire_after_ms:
            lives.append([])
        lives[-1].append(after)
    return lives


def records_of(changes: Changes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for record in changes.records:
        found[record.interval].append(encode_record(record))
    return found


@given(steps=STEPS, name=st.sampled_from(INTERVALS))
@settings(max_examples=200, deadline=None)
def test_longer_candles_are_those_of_the_plain_rules(
    steps: list[tuple[int, int, float]], name: str
) -> None:
    candles = candles_of(steps)
    length_ms = interval_ms(name) or 0
    found = list(resampled(longer_interval(name, "1m"), candles))
    assert found == by_plain_rules(candles, length_ms)
    for (before_ms, _), (after_ms, _) in pairwise(found):
        assert 2 * (after_ms - before_ms) >= length_ms, "sequence.place takes it as the next one"


@given(
    steps=STEPS,
    retire_after=st.sampled_from(RETIRE_AFTER),
    max_gap=st.sampled_from([None, 0, 4]),
    publish_interval=st.sampled_from([60, 600]),
    on_regime_change=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_an_interval_publishes_what_a_group_of_its_own_would(
    steps: list[tuple[int, int, float]],
    retire_after: str,
    max_gap: int | None,
    publish_interval: int,
    on_regime_change: bool,
) -> None:
    """G2: also with missing candles, if the group of its own were given what the last ones before
    the boundaries were. After a silence that retires a symbol, nothing of before is left.
    """
    changes = {
        "retire_after": retire_after,
        "max_gap": max_gap,
        "publish_interval": publish_interval,
        "emit_on_regime_change": on_regime_change,
    }
    chosen = small_settings(intervals=ALL, **changes)
    candles = candles_of(steps)
    found = records_of(fed(entries_of(candles), settings=chosen))
    for name in INTERVALS:
        own = small_settings(candle_interval=name, **changes)
        expected = []
        for life in lives_of(candles, chosen.retire_after_ms):
            longer = by_plain_rules(life, interval_ms(name) or 0)
            if longer:
                alone = fed(entries_of(longer, name), settings=own)
                expected += records_of(alone)[name]
        assert found[name] == expected
    alone = fed(entries_of(candles), settings=small_settings(**changes))
    assert found["1m"] == records_of(alone)["1m"], "and the shorter one is as ever"
    event(f"publishes: {bool(found['2m'])}")


@given(steps=STEPS, cut=st.integers(0, 200), retire_after=st.sampled_from(RETIRE_AFTER))
@settings(max_examples=60, deadline=None)
def test_an_interval_that_is_added_begins_with_what_the_shorter_window_has(
    steps: list[tuple[int, int, float]], cut: int, retire_after: str
) -> None:
    """G2: and with any batches after that, to the same bytes."""
    candles = candles_of(steps)
    before, after = entries_of(candles)[:cut], entries_of(candles)[cut:]
    answers = []
    for batch in (1, 3, 1_000):
        alone = small_settings(retire_after=retire_after)
        twin = Twin(alone)
        _through(twin, alone, before, 1_000)
        both = small_settings(retire_after=retire_after, intervals=ALL)
        _through(twin, both, after, batch)
        answers.append((dict(twin.records), dict(twin.counters), twin.windows))
    assert answers[1:] == [answers[0]] * 2


@pytest.mark.parametrize("cut", range(20, 50, 3))
def test_an_added_interval_begins_alike_in_any_batches(cut: int) -> None:
    """G2: the window has only its last closes, however many come in the batch that begins it."""
    entries = entries_of([(T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(1, 101)])
    windows = []
    for batch in (1, 1_000):
        twin = Twin(small_settings())
        _through(twin, small_settings(), entries[:cut], 1_000)
        _through(twin, small_settings(intervals=ALL), entries[cut:], batch)
        windows.append(twin.windows)
    assert windows[0] == windows[1]


def _through(twin: Twin, chosen: Settings, entries: list[Entry], batch: int) -> None:
    pipeline = Pipeline(chosen, (0, 0))
    for start in range(0, len(entries), batch):
        changes = twin.advance(pipeline, entries[start : start + batch])
        twin.commit(changes)
        twin.move(changes)


def test_closes_of_before_an_interval_was_added_are_in_its_window() -> None:
    candles = [(T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(1, 17)]
    entries = entries_of(candles)
    alone, both = small_settings(window_size=300), small_settings(window_size=300, intervals=ALL)
    twin = Twin(alone)
    _through(twin, alone, entries[:-1], 1_000)
    _through(twin, both, entries[-1:], 1)
    expected = by_plain_rules(candles, 5 * MINUTE_MS)
    assert len(expected) == 4
    assert twin.window_of("5m", BTC) == expected


def test_a_cache_of_the_shorter_interval_fills_the_windows_of_all() -> None:
    older = [(T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(-60, 1)]
    candles = [(T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(1, 6)]
    chosen = small_settings(window_size=300, intervals=ALL)
    history = [time_ms for time_ms, _ in older], [close for _, close in older]
    twin = Twin(chosen, {BTC: history})
    _through(twin, chosen, entries_of(candles), 1)
    for name in INTERVALS:
        expected = by_plain_rules([*older, *candles], interval_ms(name) or 0)
        assert twin.window_of(name, BTC) == expected
    published = {name: len(texts) for (name, _), texts in twin.records.items()}
    assert published == {"1m": 5, "2m": 2, "3m": 2, "5m": 1}, "only what ends with these candles"


def test_candles_up_to_the_boundary_fill_longer_windows_too_and_publish_nothing() -> None:
    """MARKETSTATE_START=warm: what counts is the entry that ends the longer candle."""
    entries = entries_of([(T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(1, 61)])
    chosen = small_settings(window_size=300, intervals="1m,5m")
    everything = records_of(fed(entries, settings=chosen))
    rest = records_of(fed(entries, settings=chosen, warm_until=(50, 0)))
    assert rest["1m"] == everything["1m"][-10:]
    assert rest["5m"] == everything["5m"][-2:]


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_a_lost_longer_window_begins_with_the_shorter_one_and_publishes_nothing_twice(
    batch: int,
) -> None:
    """Somebody has deleted the list; its mark is there."""
    entries = entries_of([(T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(1, 121)])
    chosen = small_settings(window_size=60, intervals="1m,5m")
    twin = Twin(chosen)
    _through(twin, chosen, entries[:100], 1_000)
    published = list(twin.records["5m", BTC])
    twin.lose("5m", BTC)
    _through(twin, chosen, entries[100:], batch)
    whole = records_of(fed(entries, settings=chosen))["5m"]
    assert twin.records["5m", BTC][: len(published)] == published
    assert figures_of(twin.records["5m", BTC]) == figures_of(whole), "only buffers are shorter"


@pytest.mark.parametrize("on_regime_change", [False, True])
def test_a_longer_window_that_is_ahead_of_the_shorter_one_publishes_nothing_it_does_not_add(
    on_regime_change: bool,
) -> None:
    """Files have filled it up to a later time than the shorter one: `marketstate warm`."""
    chosen = small_settings(intervals="1m,5m", emit_on_regime_change=on_regime_change)
    known = Memory(_window((T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(1, 13)))
    known.longer["5m"] = Memory(
        _window((T0 + i * MINUTE_MS, 100.0 + i % 11) for i in range(46, 102, 5))
    )
    entries = entries_of([(T0 + minute * MINUTE_MS, 100.0) for minute in (16, 20, 23)])
    pipeline = Pipeline(chosen, (0, 0))
    changes = pipeline.advance(pipeline.read(entries), lambda *_: known, no_caches)
    assert [record.interval for record in changes.records] == ["1m"] * 3
    assert changes.counters["emitted.5m"] == 0
    assert changes.longer == {}
    ends = entries_of([(T0 + 106 * MINUTE_MS, 100.0)])
    changes = pipeline.advance(pipeline.read(ends), lambda *_: known, no_caches)
    assert [record.interval for record in changes.records] == ["5m"]


def test_what_was_published_from_a_lost_longer_window_is_not_published_again() -> None:
    """G3: not even if the shorter window and its mark are lost as well, and candles come again."""
    chosen = small_settings(intervals="1m,5m", emit_on_regime_change=True)
    marked_ms = T0 + 101 * MINUTE_MS
    known = Memory(Window(12))
    known.longer["5m"] = Memory(Window(12), Mark(marked_ms, "none of these"))
    entries = entries_of([(T0 + i * MINUTE_MS, 100.0 + i % 7) for i in range(1, 161)])
    pipeline = Pipeline(chosen, (0, 0))
    changes = pipeline.advance(pipeline.read(entries), lambda *_: known, no_caches)
    published = [one.close_time_ms for one in changes.records if one.interval == "5m"]
    assert published
    assert min(published) > marked_ms


def _window(candles: Iterable[tuple[int, float]]) -> Window:
    window = Window(12)
    window.extend(*zip(*candles, strict=True))
    return window


def figures_of(texts: list[str]) -> list[tuple[int, float, float]]:
    records = [decode_record(text) for text in texts]
    return [(record.close_time_ms, record.sigma, record.mu) for record in records]
