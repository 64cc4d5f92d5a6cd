"""What happens to each kind of entry, and when a state is published."""

import copy
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketstate.core.window import Window
from marketstate.schemas.market_state import encode_record
from marketstate.worker.engine import changes as changes_module
from marketstate.worker.engine.changes import (
    Changes,
    Damaged,
    Entry,
    History,
    Memory,
    no_caches,
)
from marketstate.worker.engine.mark import Mark
from marketstate.worker.engine.pipeline import TOO_CLOSE, Pipeline
from marketstate.worker.engine.utc import utc
from marketstate.worker.keys import shard_of
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
    """G5: the same close, as from two feeds, or another one, as from an exchange that revises."""
    for after_ms in (0, 1, -1, MINUTE_MS // 2 - 1, 1 - MINUTE_MS // 2):
        for close, end in ((42.5, "duplicate"), (43.5, "revised")):
            changes = after_one(candle_entry(2, BTC, T0 + after_ms, close))
            assert (changes.counters, changes.warnings) == ({end: 1}, [])
            assert list(changes.finished.values()) == [[b"2-0"]]
            assert all(43.5 not in change.closes for change in changes.symbols.values())


def test_two_feeds_of_which_one_closes_a_millisecond_later_give_each_candle_once() -> None:
    """300 candles, not 600: sigma was 12 % off. A state follows each, whichever feed was first."""
    feeds = [
        candle_entry(2 * i + n, BTC, T0 + i * MINUTE_MS + (n + i) % 2, close)
        for i, close in enumerate(closes(300), start=1)
        for n in (0, 1)
    ]
    changes = fed(feeds)
    assert changes.counters == {"applied": 300, "duplicate": 300, "emitted": 292}
    assert changes.symbols[BTC].closes == closes(300)
    one = fed(series(300))
    assert [record.sigma for record in changes.records] == [record.sigma for record in one.records]
    assert {record.missing for record in changes.records} == {0}


def test_a_candle_half_an_interval_later_is_another_one() -> None:
    """A real outage left one of 0.53 intervals."""
    for after_ms in (MINUTE_MS // 2, 31_800):
        changes = fed([candle_entry(1, BTC, T0), candle_entry(2, BTC, T0 + after_ms)])
        assert changes.counters == {"applied": 2}


@pytest.mark.parametrize(("seconds", "hours"), [(30, 2), (45, 2), (47, 2), (48, 0), (59, 0)])
def test_candles_that_are_too_close_to_have_the_interval_are_told_once_an_hour(
    seconds: int, hours: int
) -> None:
    """They name no interval: as candles of 1m, those of 30 s give a wrong sigma."""
    step_ms = seconds * 1_000
    changes = fed(
        [candle_entry(i, BTC, T0 + i * step_ms, 100.0 + i, interval=None) for i in range(1, 120)]
    )
    assert changes.counters["applied"] == 119
    assert len(changes.told_once) == hours
    for counter, text in changes.told_once.values():
        assert counter == TOO_CLOSE
        assert f" UTC closed only {seconds} s after the one before it, but MARKETSTATE_C" in text


def test_a_candle_that_names_its_interval_may_be_close_to_the_last_one() -> None:
    entries = [candle_entry(i, BTC, T0 + i * 31_800, 100.0, interval="1m") for i in range(1, 9)]
    assert fed(entries).told_once == {}


def test_a_revised_candle_is_told_once_per_symbol_and_hour() -> None:
    twice = [
        candle_entry(2 * i + n, symbol, T0 + i * MINUTE_MS, 100.0 + i + n)
        for i in range(1, 70)
        for symbol in (BTC, "ETHUSDT")
        for n in (0, 1)
    ]
    changes = fed(twice)
    assert changes.counters["revised"] == 138
    told = sorted(changes.told_once.items())
    assert [about.split()[:2] for about, _ in told] == [["revised", BTC]] * 2 + [
        ["revised", "ETHUSDT"]
    ] * 2
    assert told[0][1] == (
        "revised",
        "BTCUSDT: entry 3-0 has the close 102.0 for the candle of 2023-11-14 22:14:59 UTC, which "
        "came with 101.0 before: the first one stays. Others of this hour are only counted "
        "(revised)",
    )


def test_a_close_that_is_not_known_any_more_cannot_be_revised() -> None:
    """The window was lost, and its last state is remembered."""
    memory = Memory(Window(12), Mark(T0), lacks_closes=True)
    pipeline = Pipeline(small_settings(), FROM_THE_START)
    readings = pipeline.read([candle_entry(1, BTC, T0, 43.5)])
    assert pipeline.advance(readings, lambda *_: memory, no_caches).counters == {"duplicate": 1}


def test_a_late_candle_changes_nothing_and_is_logged(after_one: Any) -> None:
    """G5"""
    changes = after_one(candle_entry(2, BTC, T0 - MINUTE_MS, 43.5))
    assert changes.counters == {"late": 1}
    assert list(changes.finished.values()) == [[b"2-0"]]
    expected = (
        f"BTCUSDT: entry 2-0 is late: its candle closed at {utc(T0 - MINUTE_MS)} UTC, and the last "
        f"one that counts closed at {utc(T0)}"
    )
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


@pytest.mark.parametrize("minutes", [2, 3, NEEDED + 1])
def test_a_candle_after_a_gap_is_applied_and_the_gap_logged(after_one: Any, minutes: int) -> None:
    """G5"""
    changes = after_one(candle_entry(2, BTC, T0 + minutes * MINUTE_MS, 43.5))
    assert changes.counters == {"applied": 1, "gap": 1}
    assert changes.symbols[BTC].closes == [43.5]
    between = f"between {utc(T0)} and {utc(T0 + minutes * MINUTE_MS)} UTC"
    assert texts(changes) == [f"BTCUSDT: candles missing {between}: {minutes - 1}"]


def test_the_next_candle_is_not_a_gap(after_one: Any) -> None:
    changes = after_one(candle_entry(2, BTC, T0 + MINUTE_MS))
    assert changes.counters == {"applied": 1}


@pytest.mark.parametrize(
    "entry",
    [
        candle_entry(1, BTC, T0, interval="5m"),
        candle_entry(1, BTC, T0, interval="5m", is_closed=False),
        *(candle_entry(1, BTC, T0, interval=text) for text in ("1m\n", "1m\r\n", "1m ", "1m\0")),
        candle_entry(1, BTC, T0, interval="١m"),
        candle_entry(1, BTC, T0, interval="9" * 5_000 + "m"),
        candle_entry(1, "DOGEUSDT", T0),
    ],
    ids=[
        "another interval",
        "not closed and another interval",
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


def test_candles_of_another_interval_are_told_once_and_spellings_that_cannot_be_read_apart() -> (
    None
):
    intervals = ["5m", "300s", "FIVE_MINUTE", "5m", "60", "60", "what?", "1m", "PT1M", "1min"]
    changes = fed([candle_entry(i, BTC, T0 + i, interval=v) for i, v in enumerate(intervals)])
    assert changes.counters == {"ignored": 7, "applied": 1, "duplicate": 2}
    ours = "this group has MARKETSTATE_CANDLE_INTERVAL=1m"
    assert [text for _, text in changes.told_once.values()] == [
        f"candles of 5m are ignored: {ours}",
        f"candles of 300s are ignored: {ours}",
        *(
            f"candles of {text!r} are ignored, which is an interval that cannot be read: write it "
            f"like 1m or 4h; {ours}"
            for text in ("60", "what?")
        ),
    ]


def early(number: int, before_close_ms: int, **flags: bytes) -> Entry:
    """A candle in fields, written so long before it closes."""
    fields = {b"symbol": BTC.encode(), b"close": b"%d" % number, b"close_time": b"%d" % T0}
    fields |= {name.encode(): value for name, value in flags.items()}
    return Entry(shard_of(BTC, 4), b"%d-%d" % (T0 - before_close_ms, number), fields)


@pytest.mark.parametrize("flag", [None, "closed", "confirm", "x", "is_closed"])
def test_of_the_updates_of_a_candle_the_last_one_is_the_close(flag: str | None) -> None:
    """Four updates of an hour, by flag or by the time of writing: the first one was taken."""
    minutes = (45, 30, 15, 0)
    updates = [
        early(i, minute * MINUTE_MS, **({} if flag is None else {flag: b"%d" % (minute == 0)}))
        for i, minute in enumerate(minutes, start=91)
    ]
    changes = fed(updates, settings=small_settings(candle_interval="1h"))
    assert changes.counters == {"unclosed": 3, "applied": 1}
    assert changes.symbols[BTC].closes == [94.0]
    told = [text for _, text in changes.told_once.values()]
    assert len(told) == (flag is None)
    assert all("give each candle one of is_closed, isClosed, closed, confirm" in t for t in told)


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
        pipeline.read(entries), lambda _, symbol: damaged if symbol == BTC else None, no_caches
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
    history = [T0], [1.0]
    batch = [*series(5, first=12), candle_entry(40, "ETHUSDT", T0 + MINUTE_MS)]
    readings = pipeline.read(batch)
    once = pipeline.advance(readings, twin.memory, lambda *_: history)
    assert (memory.window.closes().tolist(), memory.window.last_close_time_ms, memory) == before
    assert history == ([T0], [1.0])
    again = pipeline.advance(readings, twin.memory, lambda *_: history)
    assert (once.records, once.counters) == (again.records, again.counters)
    assert once.counters["emitted"] == 5


HOUR = 60


@pytest.mark.parametrize("cut", [0, 5, 12, 13, 20])
def test_a_window_starts_over_after_a_gap_as_long_as_symbols_have_until_they_retire(
    cut: int,
) -> None:
    """G2: in one batch or two; both windows have their states, and the second is like a first."""
    settings = small_settings(retire_after="1h", publish_interval=604_800, max_gap=10**9)
    entries = [*series(12), *series(12, first=11 + HOUR)]
    pipeline, twin = Pipeline(settings, FROM_THE_START), Twin(settings)
    for batch in (entries[:cut], entries[cut:]):
        changes = twin.advance(pipeline, batch)
        twin.commit(changes)
        twin.move(changes)
    alone = fed(series(12, first=11 + HOUR), settings=settings)
    assert twin.records["1m", BTC] == [
        encode_record(record)
        for record in (*fed(series(12), settings=settings).records, *alone.records)
    ]
    assert twin.counters == {"applied": 24, "emitted": 2}
    memory = twin.memory(shard_of(BTC, 4), BTC)
    assert memory is not None
    assert memory.window.closes().tolist() == closes(12, first=11 + HOUR)


def test_a_shorter_gap_starts_nothing_over() -> None:
    settings = small_settings(retire_after="1h", max_gap=10**9)
    changes = fed(series(12), series(1, first=10 + HOUR), settings=settings)
    assert changes.counters == {"applied": 1, "emitted": 1, "gap": 1}
    assert [record.missing for record in changes.records] == [58]


@pytest.mark.parametrize("cut", [0, 12, 13, 20])
@pytest.mark.parametrize(("max_gap", "missing"), [(None, NEEDED + 1), (3, 4), (0, 1)])
def test_a_window_starts_over_after_more_missing_candles_than_allowed(
    cut: int, max_gap: int | None, missing: int
) -> None:
    """Prices of another life are no history: 437 missing hours, and another coin behind them."""
    settings = small_settings(max_gap=max_gap, publish_interval=604_800)
    entries = [*series(12), *series(12, first=12 + missing)]
    pipeline, twin = Pipeline(settings, FROM_THE_START), Twin(settings)
    warnings = []
    for batch in (entries[:cut], entries[cut:]):
        changes = twin.advance(pipeline, batch)
        twin.commit(changes)
        twin.move(changes)
        warnings += texts(changes)
    assert twin.counters == {"applied": 24, "emitted": 2, "gap": 1, "restarted": 1}
    alone = fed(series(12, first=12 + missing), settings=settings)
    assert twin.records["1m", BTC][1:] == [encode_record(record) for record in alone.records]
    (text,) = warnings
    minute = 25 + missing
    assert text == (
        f"BTCUSDT: {missing} candles are missing between 2023-11-14 22:24:59 and 2023-11-14 22:"
        f"{minute}:59 UTC, and MARKETSTATE_MAX_GAP allows {settings.most_missing}: its window "
        "starts over"
    )


def test_as_many_missing_candles_as_allowed_start_nothing_over() -> None:
    """They stay in the record until they leave the window of the calculation."""
    entries = [*series(12), *series(NEEDED + 1, first=12 + NEEDED)]
    changes = fed(entries)
    assert changes.counters == {"applied": 22, "emitted": 14, "gap": 1}
    assert [record.missing for record in changes.records] == [0] * 4 + [NEEDED] * 8 + [0] * 2


def test_a_cache_is_used_from_its_last_long_gap_on() -> None:
    times_ms = [T0 - i * MINUTE_MS for i in (100, 99, 80, 70, 6, 5, 4, 3, 2)]
    changes = fed(series(1), histories={BTC: (times_ms, closes(9))})
    assert changes.symbols[BTC].closes == [*closes(5, first=4), *closes(1)]
    assert changes.counters == {"applied": 1, "gap": 1}


@pytest.mark.parametrize(("newest_ago", "length"), [(HOUR - 1, 6), (HOUR, 1)])
def test_closes_from_a_cache_that_end_as_long_before_are_of_no_use(
    newest_ago: int, length: int
) -> None:
    """G2: as closes from the stream would not be."""
    times_ms = [T0 - (newest_ago + i) * MINUTE_MS for i in reversed(range(5))]
    histories = {BTC: (times_ms, closes(5))}
    settings = small_settings(retire_after="1h", max_gap=10**9)
    changes = fed(series(1), settings=settings, histories=histories)
    assert changes.symbols[BTC].length == length


def test_the_same_candle_once_more_does_not_hide_that_a_window_starts_over() -> None:
    """G2: older closes are asked for with the candle with which it does, in any batching."""
    settings = small_settings()
    pipeline, over_ms = Pipeline(settings, FROM_THE_START), T0 + int(settings.starts_over_after_ms)
    times_ms = (T0, T0 + MINUTE_MS // 2 - 1, over_ms)
    readings = pipeline.read([candle_entry(i, BTC, ms) for i, ms in enumerate(times_ms)])
    asked: list[Any] = []

    def older(*question: Any) -> History:
        asked.append(question)
        return (), ()

    pipeline.advance(readings, lambda *_: None, older)
    assert asked == [(BTC, "1m", [(T0, 100.0)]), (BTC, "1m", [(over_ms, 100.0)])]


ENDS = ("applied", "ignored", "unclosed", "duplicate", "revised", "late", "dead", "lost")
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


def test_the_ends_of_an_entry_are_one_list() -> None:
    assert sorted(ENDS) == sorted(changes_module.ENDS)
