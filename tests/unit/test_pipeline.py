"""What happens to each kind of entry, and when a state is published."""

import copy
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.window import Window
from schemas.market_state import encode_record
from tests.support.feeding import (
    BTC,
    MINUTE_MS,
    NEEDED,
    T0,
    Twin,
    candle_entry,
    closes,
    fed,
    series,
    small_settings,
)
from worker.engine.changes import Changes, Damaged, Entry, Memory
from worker.engine.mark import Mark
from worker.engine.pipeline import Pipeline
from worker.keys import shard_of

FROM_THE_START = (0, 0)


def texts(changes: Changes) -> list[str]:
    return [text for _, text in changes.warnings]


def test_a_candle_is_applied() -> None:
    changes = fed([candle_entry(1, BTC, T0, 42.5)])
    assert changes.counters == {"applied": 1}
    assert changes.finished == {shard_of(BTC, 4): [b"1-0"]}
    assert (changes.symbols[BTC].close_times_ms, changes.symbols[BTC].closes) == ([T0], [42.5])
    assert (changes.records, changes.dead, changes.warnings) == ([], [], [])


SAME_BATCH, NEXT_BATCH = "in the same batch", "in the next batch"


@pytest.fixture(params=[SAME_BATCH, NEXT_BATCH])
def after_one(request: pytest.FixtureRequest) -> Any:
    """What an entry changes after the candle of T0, which has the close 42.5."""

    def after(entry: Entry) -> Changes:
        first = candle_entry(1, BTC, T0, 42.5)
        if request.param == NEXT_BATCH:
            return fed([first], [entry])
        changes = fed([first, entry])
        changes.counters -= Counter(applied=1)
        changes.finished[first.shard].remove(first.id)
        if BTC in changes.symbols:
            del changes.symbols[BTC].closes[0]
        return changes

    return after


def test_of_two_candles_with_the_same_close_time_the_first_wins(after_one: Any) -> None:
    """G5"""
    changes = after_one(candle_entry(2, BTC, T0, 43.5))
    assert changes.counters == {"duplicate": 1}
    assert list(changes.finished.values()) == [[b"2-0"]]
    assert all(43.5 not in change.closes for change in changes.symbols.values())


def test_a_late_candle_changes_nothing_and_is_logged(after_one: Any) -> None:
    """G5"""
    changes = after_one(candle_entry(2, BTC, T0 - MINUTE_MS, 43.5))
    assert changes.counters == {"late": 1}
    assert list(changes.finished.values()) == [[b"2-0"]]
    expected = f"BTCUSDT: entry 2-0 is late: close time {T0 - MINUTE_MS} comes after {T0}"
    assert texts(changes) == [expected]
    assert all(43.5 not in change.closes for change in changes.symbols.values())


@pytest.mark.parametrize("seconds", [0, 60, 3_600])
def test_a_candle_further_ahead_of_its_entry_than_the_setting_allows_is_a_dead_letter(
    seconds: int,
) -> None:
    """G5, G9: it would silence its symbol until then."""
    settings = small_settings(max_ahead=seconds)
    most_ms = T0 + seconds * 1_000
    assert fed([candle_entry(T0, BTC, most_ms)], settings=settings).counters == {"applied": 1}
    changes = fed([candle_entry(T0, BTC, most_ms + 1)], settings=settings)
    assert (changes.counters, changes.symbols) == ({"dead": 1}, {})


@pytest.mark.parametrize("minutes", [2, 3, 1_000])
def test_a_candle_after_a_gap_is_applied_and_the_gap_logged(after_one: Any, minutes: int) -> None:
    """G5"""
    changes = after_one(candle_entry(2, BTC, T0 + minutes * MINUTE_MS, 43.5))
    assert changes.counters == {"applied": 1, "gap": 1}
    assert changes.symbols[BTC].closes == [43.5]
    between = f"between {T0} and {T0 + minutes * MINUTE_MS}"
    assert texts(changes) == [f"BTCUSDT: {minutes - 1} candles are missing {between}"]


def test_the_next_candle_is_not_a_gap(after_one: Any) -> None:
    changes = after_one(candle_entry(2, BTC, T0 + MINUTE_MS))
    assert changes.counters == {"applied": 1}


@pytest.mark.parametrize(
    "entry",
    [
        candle_entry(1, BTC, T0, is_closed=False),
        candle_entry(1, BTC, T0, interval="5m"),
        *(candle_entry(1, BTC, T0, interval=text) for text in ("1m\n", "1m\r\n", "1m ", "1m\0")),
        candle_entry(1, BTC, T0, interval="١m"),
        candle_entry(1, BTC, T0, interval="9" * 5_000 + "m"),
        candle_entry(1, "DOGEUSDT", T0),
    ],
    ids=[
        "not closed",
        "another interval",
        "a line feed",
        "a line end",
        "a blank",
        "a NUL",
        "another digit",
        "many digits",
        "another symbol",
    ],
)
def test_a_candle_that_is_not_for_this_group_is_counted_and_finished(entry: Entry) -> None:
    """G5"""
    changes = fed([entry], settings=small_settings(symbols="BTCUSDT,ETHUSDT"))
    assert changes.counters == {"ignored": 1}
    assert changes.finished == {entry.shard: [b"1-0"]}
    assert (changes.symbols, changes.dead) == ({}, [])


class Unreadable(dict[bytes, bytes]):
    """Fields that make the reader fail in a way that nobody has foreseen."""

    def __init__(self, error: BaseException) -> None:
        super().__init__({b"payload": b"{}"})
        self._error = error

    def get(self, *_: object) -> Any:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("this"),
        RecursionError("is"),
        OverflowError("not"),
        KeyError("foreseen"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_nobody_has_foreseen_costs_its_own_entry_alone(error: Exception) -> None:
    """G5, G9"""
    good, other = candle_entry(1, BTC, T0), candle_entry(3, BTC, T0 + MINUTE_MS)
    changes = fed([good, Entry(good.shard, b"2-0", Unreadable(error)), other])
    assert changes.counters == {"applied": 2, "dead": 1}
    assert changes.finished == {good.shard: [b"1-0", b"2-0", b"3-0"]}
    ((entry, text),) = changes.dead
    assert entry.id == b"2-0"
    assert text == (f"internal error: {type(error).__name__}: {str(error)!r}; please report it")
    assert changes.errors == [f"entry 2-0 is a dead letter: {text}"]


def test_a_symbol_that_is_set_aside_costs_its_own_candles_alone() -> None:
    """G5, G9"""
    pipeline = Pipeline(small_settings(), FROM_THE_START)
    entries = [candle_entry(1, BTC, T0), candle_entry(2, "ETHUSDT", T0), candle_entry(3, BTC, T0)]
    damaged = Damaged(BTC.encode(), "its mark is damaged")
    changes = pipeline.advance(
        pipeline.read(entries), lambda _, symbol: damaged if symbol == BTC else None, {}
    )
    assert changes.counters == {"applied": 1, "dead": 2, "quarantined": 2}
    assert list(changes.symbols) == ["ETHUSDT"]
    assert {letter.error for letter in changes.dead} == {"quarantined: its mark is damaged"}


def test_a_candle_without_an_interval_is_applied() -> None:
    assert fed([candle_entry(1, BTC, T0, interval=None)]).counters == {"applied": 1}


def test_what_is_not_a_candle_is_a_dead_letter_with_the_reason() -> None:
    """G5"""
    entry = Entry(0, b"7-3", {b"payload": b"hello"})
    changes = fed([entry])
    assert changes.counters == {"dead": 1}
    assert changes.finished == {0: [b"7-3"]}
    [letter] = changes.dead
    assert letter.entry == entry
    assert "field 'payload' (JSON) is not a candle" in letter.error
    assert texts(changes) == [f"entry 7-3 is a dead letter: {letter.error}"]


def test_an_entry_on_the_wrong_shard_is_a_dead_letter() -> None:
    """G1: another worker may be applying candles of the same symbol."""
    entry = candle_entry(1, BTC, T0)
    changes = fed([entry._replace(shard=(entry.shard + 1) % 4)])
    assert (changes.counters, changes.symbols) == ({"dead": 1}, {})
    assert f"symbol 'BTCUSDT' belongs to shard {entry.shard}, but" in changes.dead[0].error


def test_an_entry_that_was_trimmed_is_lost_and_logged() -> None:
    """G5"""
    changes = fed([Entry(2, b"5-0", {})])
    assert changes.counters == {"lost": 1}
    assert changes.finished == {2: [b"5-0"]}
    assert texts(changes) == ["entry 5-0 was trimmed before it was finished: lost"]


def test_entries_are_applied_in_stream_order_in_whatever_order_they_arrive() -> None:
    """G1: ids are compared as numbers, so 10-0 comes after 9-0."""
    changes = fed(list(reversed(series(12))))
    assert changes.counters == {"applied": 12, "emitted": 4}
    assert changes.symbols[BTC].closes == closes(12)
    assert changes.finished[shard_of(BTC, 4)] == [b"%d-0" % i for i in range(1, 13)]


def test_advance_changes_nothing_in_memory() -> None:
    """G3: memory changes only after the commit."""
    settings = small_settings()
    pipeline, twin = Pipeline(settings, FROM_THE_START), Twin(settings)
    changes = twin.advance(pipeline, series(12))
    twin.commit(changes)
    twin.move(changes)
    memory = twin.memory(shard_of(BTC, 4), BTC)
    assert memory is not None
    before = (memory.window.closes().tolist(), memory.window.last_close_time_ms, copy.copy(memory))
    histories: Any = {("ETHUSDT", T0 + MINUTE_MS): ([T0], [1.0])}
    batch = [*series(5, first=12), candle_entry(40, "ETHUSDT", T0 + MINUTE_MS)]
    readings = pipeline.read(batch)
    once = pipeline.advance(readings, twin.memory, histories)
    assert (memory.window.closes().tolist(), memory.window.last_close_time_ms, memory) == before
    assert histories == {("ETHUSDT", T0 + MINUTE_MS): ([T0], [1.0])}
    again = pipeline.advance(readings, twin.memory, histories)
    assert (once.records, once.counters) == (again.records, again.counters)
    assert once.counters["emitted"] == 5


HOUR = 60


@pytest.mark.parametrize("cut", [0, 5, 12, 13, 20])
def test_a_window_starts_over_after_a_gap_as_long_as_symbols_have_until_they_retire(
    cut: int,
) -> None:
    """G2: in one batch or two; both windows have their states, and the second is like a first."""
    settings = small_settings(retire_after="1h", publish_interval=604_800)
    entries = [*series(12), *series(12, first=11 + HOUR)]
    pipeline, twin = Pipeline(settings, FROM_THE_START), Twin(settings)
    for batch in (entries[:cut], entries[cut:]):
        changes = twin.advance(pipeline, batch)
        twin.commit(changes)
        twin.move(changes)
    alone = fed(series(12, first=11 + HOUR), settings=settings)
    assert twin.records[BTC] == [
        encode_record(record)
        for record in (*fed(series(12), settings=settings).records, *alone.records)
    ]
    assert twin.counters == {"applied": 24, "emitted": 2}
    memory = twin.memory(shard_of(BTC, 4), BTC)
    assert memory is not None
    assert memory.window.closes().tolist() == closes(12, first=11 + HOUR)


def test_a_shorter_gap_starts_nothing_over() -> None:
    settings = small_settings(retire_after="1h")
    changes = fed(series(12), series(1, first=10 + HOUR), settings=settings)
    assert changes.counters == {"applied": 1, "emitted": 1, "gap": 1}


@pytest.mark.parametrize(("newest_ago", "length"), [(HOUR - 1, 6), (HOUR, 1)])
def test_closes_from_a_cache_that_end_as_long_before_are_of_no_use(
    newest_ago: int, length: int
) -> None:
    """G2: as closes from the stream would not be."""
    times_ms = [T0 - (newest_ago + i) * MINUTE_MS for i in reversed(range(5))]
    histories = {BTC: (times_ms, closes(5))}
    changes = fed(series(1), settings=small_settings(retire_after="1h"), histories=histories)
    assert changes.symbols[BTC].length == length


ENDS = ("applied", "ignored", "duplicate", "late", "dead", "lost")
ANY_ENTRIES = st.lists(
    st.one_of(
        st.builds(
            lambda symbol, minute, **changes: candle_entry(
                0, symbol, T0 + minute * 7_000, **changes
            ),
            st.sampled_from(["BTCUSDT", "ETHUSDT", "DOGEUSDT", "Ξ"]),
            st.integers(-5, 60),
            interval=st.sampled_from(["1m", None, "5m"]),
            is_closed=st.booleans(),
        ),
        st.builds(
            Entry,
            st.integers(0, 3),
            st.just(b"0-0"),
            st.dictionaries(
                st.sampled_from([b"payload", b"data", b"symbol", b"event_type", b"x"]),
                st.binary(max_size=20),
                max_size=3,
            ),
        ),
        st.builds(candle_entry, st.just(0), st.just(BTC), st.just(T0)).map(
            lambda entry: entry._replace(shard=3 - entry.shard)
        ),
    ),
    max_size=40,
)


@given(entries=ANY_ENTRIES, symbols=st.sampled_from(["all", "BTCUSDT,Ξ"]))
def test_every_entry_ends_in_exactly_one_way(entries: list[Entry], symbols: str) -> None:
    """G5"""
    entries = [entry._replace(id=b"%d-%d" % divmod(i, 3)) for i, entry in enumerate(entries)]
    changes = fed(entries, settings=small_settings(symbols=symbols))
    assert sum(changes.counters[end] for end in ENDS) == len(entries)
    assert len(changes.dead) == changes.counters["dead"]
    expected: dict[int, list[bytes]] = {}
    for entry in entries:
        expected.setdefault(entry.shard, []).append(entry.id)
    assert changes.finished == expected


def waiting(count: int, published_ms: int) -> list[tuple[int, str, Memory]]:
    """Symbols whose newest close has not been published yet."""
    remembered = []
    for number in range(count):
        window = Window(12)
        window.extend([T0 + i * MINUTE_MS for i in range(NEEDED)], closes(NEEDED))
        symbol = f"SYM{number}USDT"
        mark = Mark(T0, "chop", published_ms)
        remembered.append((shard_of(symbol, 4), symbol, Memory(window, mark)))
    return remembered


def test_overdue_symbols_are_taken_one_batch_at_a_time() -> None:
    """With an expensive theta, all at once would outlast the lease, and never be committed."""
    pipeline = Pipeline(small_settings(rate_clock="wall"), warm_until=(0, 0))
    remembered = waiting(20, published_ms=T0)
    first = pipeline.overdue(remembered, T0 + MINUTE_MS, 16)
    assert [record.symbol for record in first.records] == [f"SYM{i}USDT" for i in range(16)]
    rest = [known for known in remembered if known[1] not in first.symbols]
    assert len(pipeline.overdue(rest, T0 + MINUTE_MS, 16).records) == 4


def test_a_clock_that_was_set_back_does_not_silence_a_symbol() -> None:
    pipeline = Pipeline(small_settings(rate_clock="wall"), warm_until=(0, 0))
    long_ahead = waiting(1, published_ms=T0 + 1_000 * MINUTE_MS)
    assert len(pipeline.overdue(long_ahead, T0, 16).records) == 1
    a_little_ahead = waiting(1, published_ms=T0 + MINUTE_MS // 2)
    assert len(pipeline.overdue(a_little_ahead, T0, 16).records) == 0


def test_a_symbol_that_is_no_longer_wanted_is_not_overdue() -> None:
    settings = small_settings(rate_clock="wall", symbols="SYM1USDT")
    pipeline = Pipeline(settings, warm_until=(0, 0))
    changes = pipeline.overdue(waiting(3, published_ms=T0), T0 + MINUTE_MS, 16)
    assert [record.symbol for record in changes.records] == ["SYM1USDT"]
