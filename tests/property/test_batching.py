"""One answer in any batching: all at once, one by one, split anywhere, with crashes in between."""

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from hypothesis import event, given, settings, target
from hypothesis import strategies as st

from core.state import MarketState
from schemas.market_state import MarketStateRecord
from tests.support.feeding import (
    MINUTE_MS,
    SMALL_THETA,
    T0,
    Twin,
    candle_entry,
    small_settings,
)
from worker.engine.changes import Entry, History
from worker.engine.pipeline import Pipeline
from worker.keys import shard_of
from worker.settings import Settings

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
Answer = tuple[dict[str, list[str]], dict[str, int]]


class Batch(NamedTuple):
    """How many entries of each shard a worker fetches, and when it crashes."""

    counts: tuple[int, int, int, int]
    crash: str


class Case(NamedTuple):
    settings: Settings
    warm_until: tuple[int, int]
    histories: dict[str, History]
    entries: list[Entry]


def entries_of(steps: Iterable[tuple[str, int, float]]) -> list[Entry]:
    """A step of 1 is the next candle, 0 a duplicate, less than 0 a late candle, above 1 a gap; one
    of 60 or more is a gap after which the window starts over, if symbols retire after an hour.
    """
    minutes: dict[str, int] = defaultdict(int)
    entries = []
    for number, (symbol, step, close) in enumerate(steps, start=1):
        minute = minutes[symbol] + step
        minutes[symbol] = max(minute, minutes[symbol])
        entries.append(candle_entry(number, symbol, T0 + minute * MINUTE_MS, close))
    return entries


STEPS = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from([1] * 24 + [0, -1, 2, 5] * 4 + [59, 60, 100]),
        st.sampled_from([100.0, 100.5, 101.0, 99.0]) | st.floats(1e-3, 1e6),
    ),
    min_size=10,
    max_size=100,
)
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
    twin, pipeline = Twin(case.settings, case.histories), Pipeline(case.settings, case.warm_until)
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
)
@settings(max_examples=100, deadline=None)
def test_what_is_published_is_the_state_of_the_window_at_that_candle(
    steps: list[tuple[str, int, float]],
    publish_interval: int,
    on_regime_change: bool,
    retire_after: str,
) -> None:
    """G2, compared with the plain rules: a list of closes, and the clock of the candles."""
    chosen = small_settings(
        publish_interval=publish_interval,
        emit_on_regime_change=on_regime_change,
        retire_after=retire_after,
    )
    case = Case(chosen, (0, 0), {}, entries_of(steps))
    pipeline, twin = Pipeline(case.settings, case.warm_until), Twin(case.settings)
    records = twin.advance(pipeline, case.entries).records
    assert [figures_of(record) for record in records] == list(by_the_plain_rules(case))


Figures = tuple[str, int, int, float, float, float, str, str]


def figures_of(record: MarketStateRecord) -> Figures:
    return (
        *(record.symbol, record.close_time_ms, record.buffer_size),
        *(record.sigma, record.mu, record.features.vr, record.regime, record.reason),
    )


def by_the_plain_rules(case: Case) -> Iterable[Figures]:
    last_ms: dict[str, int] = defaultdict(int)
    emitted_ms: dict[str, int] = defaultdict(int)
    emitted_regime: dict[str, str] = {}
    closes: dict[str, list[float]] = defaultdict(list)
    state_of = MarketState(SMALL_THETA).get_state
    for reading in Pipeline(case.settings, (0, 0)).read(case.entries):
        candle = reading.found
        assert not isinstance(candle, Exception)
        symbol, close_ms, close = candle.symbol, candle.close_time, candle.close  # type: ignore[union-attr]
        if close_ms <= last_ms[symbol]:
            continue
        if close_ms - last_ms[symbol] >= case.settings.retire_after_ms:
            closes[symbol], emitted_ms[symbol] = [], 0
            emitted_regime.pop(symbol, None)
        last_ms[symbol] = close_ms
        closes[symbol] = [*closes[symbol], close][-case.settings.window_size :]
        state = state_of(symbol, closes[symbol])
        if not state:
            continue
        probs: Any = state["regime_probs"]
        regime = max(("trend", "mr", "chop"), key=lambda name: probs[name])
        is_time = close_ms - emitted_ms[symbol] >= case.settings.publish_interval_ms
        is_another = emitted_regime.get(symbol, regime) != regime
        if is_time or (is_another and case.settings.emit_on_regime_change):
            emitted_ms[symbol], emitted_regime[symbol] = close_ms, regime
            yield (
                *(symbol, close_ms, len(closes[symbol])),
                *(state["sigma"], state["mu"], state["features"]["vr"]),
                *(regime, "interval" if is_time else "regime_change"),
            )


def test_the_symbols_are_on_several_shards() -> None:
    """Otherwise shards could not get ahead of each other in these tests."""
    assert len({shard_of(symbol, 4) for symbol in SYMBOLS}) > 1
