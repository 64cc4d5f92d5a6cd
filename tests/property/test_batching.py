"""One answer in any batching: all at once, one by one, split anywhere, with crashes in between."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hypothesis import event, given, settings, target
from hypothesis import strategies as st

from marketstate.core.state import MarketState
from marketstate.schemas.candle import Candle
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.longer import TimedClose
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.engine.changes import Entry, History, Ignored
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.keys import shard_of
from marketstate.worker.settings import Settings
from tests.support.feeding import (
    MINUTE_MS,
    NEEDED,
    SMALL_THETA,
    T0,
    Twin,
    candle_entry,
    small_settings,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
Answer = tuple[dict[tuple[str, str], list[str]], dict[str, int]]


class Batch(NamedTuple):
    """How many entries of each shard a worker fetches, and when it crashes."""

    counts: tuple[int, int, int, int]
    crash: str


class Case(NamedTuple):
    settings: Settings
    warm_until: tuple[int, int]
    histories: dict[str, History]
    entries: list[Entry]


class Step(NamedTuple):
    symbol: str
    minutes: float
    """From the last candle: 1 is the next one, less than half the same one, less than 0 a late one,
    more than 1 a gap. The window starts over after 60 or more if symbols retire after an hour, and
    after more than MARKETSTATE_MAX_GAP allows.
    """
    close: float
    later_ms: int
    """By another feed."""
    kind: str


class TwinWithCaches(Twin):
    """The symbols that have a history have caches of longer intervals, too."""

    def older(self, symbol: str, interval: str, closes: Sequence[TimedClose]) -> History:
        history = super().older(symbol, self.settings.candle_interval, closes)
        if interval == self.settings.candle_interval:
            return history
        # What is asked must be the same in any batching: what is found shows it.
        step_ms, n = interval_ms(interval) or 0, len(history[0])
        times_ms = [closes[0][0] - i * step_ms for i in range(n, 0, -1)]
        return times_ms, [sum(close for _, close in closes) + i for i in range(n)]


def entries_of(steps: Iterable[Step]) -> list[Entry]:
    last_ms: dict[str, int] = defaultdict(lambda: T0)
    entries = []
    for number, (symbol, minutes, close, later_ms, kind) in enumerate(steps, start=1):
        at_ms = last_ms[symbol] + int(minutes * MINUTE_MS)
        entry = candle_entry(number, symbol, at_ms + later_ms, close, is_closed=kind != "update")
        if kind == "closed":
            last_ms[symbol] = max(at_ms, last_ms[symbol])
        if kind == "early":
            entry = without_flag(entry, at_ms + later_ms - 30_000)
        entries.append(entry)
    return entries


def without_flag(entry: Entry, written_ms: int) -> Entry:
    payload = entry.fields[b"payload"].replace(b'"is_closed":true', b'"note":1')
    return entry._replace(
        fields={**entry.fields, b"payload": payload, b"written_ms": b"%d" % written_ms}
    )


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(SYMBOLS),
        st.sampled_from([1] * 24 + [0, -1, 2, 5] * 4 + [0.47, 0.53, 8, 9, 10, 11, 59, 60, 100]),
        st.sampled_from([100.0, 100.5, 101.0, 99.0]) | st.floats(1e-3, 1e6),
        st.sampled_from([0] * 6 + [1]),
        st.sampled_from(["closed"] * 12 + ["update", "early"]),
    ),
    min_size=10,
    max_size=100,
)
INTERVALS = st.sampled_from(["", "1m,2m", "1m,3m,5m,15m,30m"])
MAX_GAPS = st.sampled_from([None, 0, 4, 10**9])
HISTORIES = st.dictionaries(
    st.sampled_from(SYMBOLS),
    st.integers(0, 20).map(
        lambda n: ([T0 - i * MINUTE_MS for i in range(n, 0, -1)], [100.0 + i for i in range(n)])
    ),
    max_size=2,
)
CASES = st.builds(
    Case,
    st.builds(
        small_settings,
        publish_interval=st.sampled_from([60, 150, 100_000]),
        emit_on_regime_change=st.booleans(),
        window_size=st.sampled_from([9, 12]),
        retire_after=st.sampled_from(["1h", "never"]),
        max_gap=MAX_GAPS,
        intervals=INTERVALS,
    ),
    st.tuples(st.sampled_from([0, 0, 15]), st.just(0)),
    HISTORIES,
    STEPS.map(entries_of),
)
COUNTS = st.tuples(*[st.sampled_from([0, 1, 2, 7, 30])] * 4)


def answer(case: Case, batches: Iterable[Batch]) -> Answer:
    """What is published and counted if entries are fetched in these batches, then one by one."""
    queues: dict[int, deque[Entry]] = {shard: deque() for shard in range(4)}
    for entry in case.entries:
        queues[entry.shard].append(entry)
    twin = TwinWithCaches(case.settings, case.histories)
    pipeline = Pipeline(case.settings, case.warm_until)
    rest = [Batch((1, 1, 1, 1), "never")] * len(case.entries)
    for counts, crash in (*batches, *rest):
        fetched = [
            entry
            for shard, count in enumerate(counts)
            for entry in list(queues[shard])[: min(count, len(queues[shard]))]
        ]
        changes = twin.advance(pipeline, fetched)
        if crash == "before the commit":
            twin.crash()
            continue
        twin.commit(changes)
        for entry in fetched:
            assert queues[entry.shard].popleft() == entry
        if crash == "after the commit":
            twin.crash()
        else:
            twin.move(changes)
    assert not any(queues.values())
    return dict(twin.records), dict(twin.counters)


def whole(case: Case) -> Answer:
    everything = len(case.entries)
    return answer(case, [Batch((everything,) * 4, "never")])


def one_by_one(case: Case) -> Answer:
    return answer(case, [])


@given(case=CASES)
@settings(max_examples=60, deadline=None)
def test_whole_and_one_by_one_give_the_same_bytes(case: Case) -> None:
    """G2"""
    records, counters = whole(case)
    assert one_by_one(case) == (records, counters)
    target(float(counters.get("emitted", 0)))


@given(case=CASES, cuts=st.lists(COUNTS, max_size=12))
@settings(max_examples=100, deadline=None)
def test_batches_of_any_size_give_the_same_bytes(
    case: Case, cuts: list[tuple[int, int, int, int]]
) -> None:
    """G2: shards may get ahead of each other, as they do with several workers."""
    expected = whole(case)
    assert answer(case, [Batch(counts, "never") for counts in cuts]) == expected
    event(f"publishes: {bool(expected[0])}")


@given(
    case=CASES,
    batches=st.lists(
        st.builds(
            Batch, COUNTS, st.sampled_from(["never", "before the commit", "after the commit"])
        ),
        max_size=12,
    ),
)
@settings(max_examples=100, deadline=None)
def test_crashes_between_batches_change_no_byte(case: Case, batches: list[Batch]) -> None:
    """G2 and G3: loading from the mirror restores the memory."""
    assert answer(case, batches) == whole(case)


@given(
    steps=STEPS,
    publish_interval=st.sampled_from([60, 150, 600]),
    on_regime_change=st.booleans(),
    retire_after=st.sampled_from(["1h", "never"]),
    max_gap=MAX_GAPS,
)
@settings(max_examples=100, deadline=None)
def test_what_is_published_is_the_state_of_the_window_at_that_candle(
    steps: list[Step],
    publish_interval: int,
    on_regime_change: bool,
    retire_after: str,
    max_gap: int | None,
) -> None:
    """G2, compared with the plain rules: a list of closes, and the clock of the candles."""
    chosen = small_settings(
        publish_interval=publish_interval,
        emit_on_regime_change=on_regime_change,
        retire_after=retire_after,
        max_gap=max_gap,
    )
    case = Case(chosen, (0, 0), {}, entries_of(steps))
    pipeline, twin = Pipeline(case.settings, case.warm_until), Twin(case.settings)
    records = twin.advance(pipeline, case.entries).records
    assert [figures_of(record) for record in records] == list(by_the_plain_rules(case))


Figures = tuple[str, int, int, int, float, float, float, str, str]


def figures_of(record: MarketStateRecord) -> Figures:
    return (
        *(record.symbol, record.close_time_ms, record.buffer_size, record.missing),
        *(record.sigma, record.mu, record.features.vr, record.regime, record.reason),
    )


def by_the_plain_rules(case: Case) -> Iterable[Figures]:
    emitted_ms: dict[str, int] = defaultdict(int)
    emitted_regime: dict[str, str] = {}
    closes: dict[str, list[tuple[int, float]]] = defaultdict(list)
    chosen = case.settings
    most_missing = NEEDED if chosen.max_gap is None else chosen.max_gap
    state_of = MarketState(SMALL_THETA).get_state
    for reading in Pipeline(chosen, (0, 0)).read(case.entries):
        candle = reading.found
        if isinstance(candle, Ignored):
            continue
        assert isinstance(candle, Candle)
        symbol, close_ms = candle.symbol, candle.close_time
        window = closes[symbol]
        if window:
            step_ms = close_ms - window[-1][0]
            if step_ms < MINUTE_MS / 2:
                continue
            missing = (step_ms + MINUTE_MS // 2) // MINUTE_MS - 1
            if step_ms >= chosen.retire_after_ms or missing > most_missing:
                window, emitted_ms[symbol] = [], 0
                emitted_regime.pop(symbol, None)
        closes[symbol] = window = [*window, (close_ms, candle.close)][-chosen.window_size :]
        state = state_of(symbol, [close for _, close in window])
        if not state:
            continue
        probs: Any = state["regime_probs"]
        regime = max(("trend", "mr", "chop"), key=lambda name: probs[name])
        candles = (close_ms - emitted_ms[symbol] + MINUTE_MS // 2) // MINUTE_MS
        is_time = candles >= chosen.publish_interval / 60
        is_another = emitted_regime.get(symbol, regime) != regime
        if is_time or (is_another and chosen.emit_on_regime_change):
            emitted_ms[symbol], emitted_regime[symbol] = close_ms, regime
            span_ms = close_ms - window[-NEEDED][0]
            yield (
                *(symbol, close_ms, len(window)),
                max(0, (span_ms + MINUTE_MS // 2) // MINUTE_MS - NEEDED + 1),
                *(state["sigma"], state["mu"], state["features"]["vr"]),
                *(regime, "interval" if is_time else "regime_change"),
            )


def test_the_symbols_are_on_several_shards() -> None:
    """Otherwise shards could not get ahead of each other in these tests."""
    assert len({shard_of(symbol, 4) for symbol in SYMBOLS}) > 1
