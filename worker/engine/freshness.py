"""How fresh the states of the symbols are, of each interval, by the marks in Redis."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from marketstate.worker.engine.key_health import printable
from marketstate.worker.engine.mark import parse_mark
from marketstate.worker.settings import Settings

# One state may be late; after two missing states, something is wrong.
MAX_STATE_AGE_IN_STEPS: Final = 2

Marks = Mapping[bytes, bytes]
"""Of the symbols of one shard."""


class SymbolStatus(msgspec.Struct, frozen=True):
    symbol: str
    last_emitted_ms: int | None
    """Close time of the last published state; None while the window fills."""
    age_s: float | None
    closes: int | None = None
    """In the window of a symbol without a state; only `marketstate status` counts them."""


class IntervalStatus(msgspec.Struct, frozen=True):
    """Of one longer interval."""

    interval: str
    emitted: int
    gaps: int
    restarted: int
    """Windows that started over after a long gap."""
    fresh: int
    """Symbols, as `conditions` counts them; like the two below."""
    stale: int
    filling: int
    last_emitted_ms: int | None
    """Close time of the newest state of all symbols; None before the first."""
    age_s: float | None


def stale_after_s(settings: Settings) -> float:
    """From this age on, a state is stale. In a replay, never: the time of a close says nothing
    about the workers.
    """
    if settings.replay_namespace:
        return math.inf
    return MAX_STATE_AGE_IN_STEPS * settings.state_step_ms / 1_000


def conditions(symbols: Iterable[SymbolStatus], settings: Settings) -> dict[str, int]:
    """How many are `fresh`, `stale`, or `filling`, that is without a state."""
    bound_s = stale_after_s(settings)
    counts = dict.fromkeys(("fresh", "stale", "filling"), 0)
    for one in symbols:
        age_s = one.age_s
        counts["filling" if age_s is None else "stale" if age_s > bound_s else "fresh"] += 1
    return counts


def symbols_of(marks: Iterable[Marks], now_ms: float) -> Iterator[SymbolStatus]:
    for of_shard in marks:
        for symbol, mark in of_shard.items():
            try:
                emitted_ms = parse_mark(mark).close_time_ms
            except ValueError:  # the worker that meets it sets the symbol aside
                emitted_ms = 0
            yield SymbolStatus(
                printable(symbol),
                emitted_ms or None,
                (now_ms - emitted_ms) / 1_000 if emitted_ms else None,
            )


def status_of(
    longer: Settings,
    base: Sequence[Marks],
    marks: Sequence[Marks],
    counters: Mapping[str, int],
    now_ms: float,
) -> IntervalStatus:
    """Of the interval of `longer`; `base` has the marks of the candle interval. A symbol that is
    only there has not ended a candle of this one yet.
    """
    no_mark = (dict.fromkeys(of_shard, b"0") for of_shard in base)
    every = (without | dict(of_shard) for without, of_shard in zip(no_mark, marks, strict=True))
    symbols = [*symbols_of(every, now_ms)]
    newest_ms = max((one.last_emitted_ms or 0 for one in symbols), default=0)
    return IntervalStatus(
        interval=longer.candle_interval,
        emitted=counters.get(f"emitted{longer.suffix}", 0),
        gaps=counters.get(f"gap{longer.suffix}", 0),
        restarted=counters.get(f"restarted{longer.suffix}", 0),
        **conditions(symbols, longer),
        last_emitted_ms=newest_ms or None,
        age_s=(now_ms - newest_ms) / 1_000 if newest_ms else None,
    )


def summed_intervals(parts: Iterable[Sequence[IntervalStatus]]) -> list[IntervalStatus]:
    """Over partitions, which have the same intervals."""
    return [_summed(of_interval) for of_interval in zip(*parts, strict=True)]


def _summed(parts: Sequence[IntervalStatus]) -> IntervalStatus:
    newest = max(parts, key=lambda one: one.last_emitted_ms or 0)
    counts = ("emitted", "gaps", "restarted", "fresh", "stale", "filling")
    sums = {name: sum(getattr(one, name) for one in parts) for name in counts}
    return msgspec.structs.replace(newest, **sums)
