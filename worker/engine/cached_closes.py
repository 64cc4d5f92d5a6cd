"""The closes of a cache that belong in front of a symbol's first candle, or why none of them do.

- **With times**, the closes are ordered by them. Their spacing must be the candle interval. A time
  with two closes is left out. After a gap that starts a window over, only the later closes count.
- **Times that may be those of the open or of the close** are decided in `cache_times.py`.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median_low
from typing import Final, NamedTuple

from marketstate.schemas.sequence import Place, missing_between, place, start_after_gaps
from marketstate.worker.engine.cache_times import Stream, Wanted, step, what_they_mean
from marketstate.worker.engine.cache_values import Cached, Means
from marketstate.worker.engine.changes import History
from marketstate.worker.engine.utc import utc

_ODD_ROWS: Final = 10
_UNIQUE: Final = (
    "in a sorted set, a price that comes again moves its first value: put the time into the values"
)


class Found(NamedTuple):
    history: History = ((), ())
    missing: int = 0
    """Candles that are missing between these closes, and up to the first candle."""
    notes: Sequence[str] = ()
    """What else a person should know."""


def closes_before(values: Sequence[Cached], stream: Stream, wanted: Wanted) -> Found:
    """From a cache whose values have times. Raises ValueError if it cannot be used."""
    if sum(not value.fits_columns for value in values) * _ODD_ROWS > len(values):
        raise ValueError(
            "its arrays are not [time, open, high, low, close, volume]: the third is not the "
            "highest of the prices, or the fourth not the lowest"
        )
    times_ms = {value.time_ms for value in values if value.time_ms is not None}
    if any(value.time_ms is None for value in values):
        raise ValueError("some of its values have a time and some do not")
    is_bare = all(value.is_bare for value in values)
    _check_spacing(sorted(times_ms), is_bare, wanted)
    notes: list[str] = []
    timed = _with_close_times(values, stream, wanted, notes)
    found = _last_part(_in_order(timed, stream, wanted, notes), stream, wanted, notes)
    if found.missing and is_bare:
        notes.append(_UNIQUE)
    return found


def _with_close_times(
    values: Iterable[Cached], stream: Stream, wanted: Wanted, notes: list[str]
) -> dict[int, set[float]]:
    """The closes by close time in ms."""
    by_meaning: dict[Means, dict[int, set[float]]] = {}
    for close, time_ms, means, *_ in values:
        by_meaning.setdefault(means, {}).setdefault(time_ms or 0, set()).add(close)
    timed: dict[int, set[float]] = {}
    for means, of_meaning in by_meaning.items():
        read_as = what_they_mean(means, of_meaning, stream, wanted)
        for time_ms, closes in of_meaning.items():
            if read_as == "either" and step(time_ms, stream, wanted) > -2:
                continue
            offset_ms = wanted.interval_ms - 1 if read_as == "open" else 0
            timed.setdefault(time_ms + offset_ms, set()).update(closes)
        if read_as == "either":
            notes.append(
                "its times may be those of the open or of the close, so one close before the first "
                "candle is not used (name them open_time or close_time)"
            )
    return timed


def _check_spacing(times_ms: Sequence[int], bare: bool, wanted: Wanted) -> None:
    """What most closes are apart must be one interval; the others are gaps."""
    if len(times_ms) < 2:
        return
    apart_ms = median_low(b - a for a, b in pairwise(times_ms))
    if 2 * apart_ms < wanted.interval_ms or 2 * apart_ms >= 3 * wanted.interval_ms:
        raise ValueError(
            f"its values are {apart_ms / 1_000:,g} s apart, and the candle interval is "
            f"{wanted.interval_ms / 1_000:,g} s" + (f" ({_UNIQUE})" if bare else "")
        )


def _in_order(
    timed: dict[int, set[float]], stream: Stream, wanted: Wanted, notes: list[str]
) -> History:
    """Those before the first candle, one for each candle."""
    times_ms: list[int] = []
    of_candle: list[set[float]] = []
    for time_ms in sorted(timed):
        if place(time_ms, stream.first_ms, wanted.interval_ms) is not Place.NEXT:
            break
        if times_ms and place(times_ms[-1], time_ms, wanted.interval_ms) is Place.SAME:
            of_candle[-1] |= timed[time_ms]
        else:
            times_ms.append(time_ms)
            of_candle.append(set(timed[time_ms]))
    sure = [i for i, closes in enumerate(of_candle) if len(closes) == 1]
    if len(sure) < len(times_ms):
        notes.append(f"candles with two closes, which are left out: {len(times_ms) - len(sure)}")
    return [times_ms[i] for i in sure], [min(of_candle[i]) for i in sure]


def _last_part(history: History, stream: Stream, wanted: Wanted, notes: list[str]) -> Found:
    """What is after the last gap that starts a window over, and as much as is wanted."""
    times_ms, closes = history[0][-wanted.most :], history[1][-wanted.most :]
    start = start_after_gaps(times_ms, stream.first_ms, wanted.too_long_ms)
    all_ms = [*times_ms, stream.first_ms]
    if start:
        before_ms, after_ms = all_ms[start - 1 : start + 1]
        text = (
            f"{missing_between(before_ms, after_ms, wanted.interval_ms)} candles are missing "
            f"between {utc(before_ms)} and {utc(after_ms)}, with which a window starts over"
        )
        if start == len(times_ms):
            raise ValueError(text)
        notes.append(f"{text}: what is older is not used")
    missing = sum(
        missing_between(before, after, wanted.interval_ms)
        for before, after in pairwise(all_ms[start:])
    )
    return Found((times_ms[start:], closes[start:]), missing, notes)
