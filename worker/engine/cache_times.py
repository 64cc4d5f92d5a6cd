"""What the times in a cache mean: when a candle opened, or when it closed.

`open_time` and `close_time` say it. `timestamp`, `time`, `ts`, a score and the first number of an
array do not, and read the wrong way, the last candle before the first one of the stream would be
missing, or the first one would be there twice. This decides it:

- Times that are all a millisecond, or a second, before a candle could begin are close times.
- Closes that cache and stream have in common fit one reading and not the other.
- If they have no candle in common, in either reading, the times count as open times: the closes
  before the first candle are the same.
- Otherwise both readings stay possible (`either`): only closes that are before the first candle in
  both may be used. They count as close times, so that a candle is missing behind them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from marketstate.schemas.times import are_close_times
from marketstate.worker.engine.cache_values import Means

# Closes that cache and stream both have, from which it shows that they are not of one market.
_COMMON_TO_JUDGE: Final = 4

Reading = Literal["open", "close", "either"]
Timed = Mapping[int, set[float]]
"""Closes by time in ms: more than one if the cache has several values for a time."""


class Stream(NamedTuple):
    """What is known of the symbol from the stream."""

    first_ms: int
    """Close time of the candle in front of which closes are wanted."""
    times_ms: Sequence[int]
    closes: Sequence[float]
    """Of that candle and those around it, oldest first."""


class Wanted(NamedTuple):
    interval_ms: int
    most: int
    """Closes that are used."""
    too_long_ms: float
    """The shortest gap with which a window starts over."""


def what_they_mean(means: Means, timed: Timed, stream: Stream, wanted: Wanted) -> Reading:
    """`open`, `close`, or `either` where nothing decides it."""
    as_open, as_close = _common(timed, -1, stream, wanted), _common(timed, 0, stream, wanted)
    if means != "vague":
        if means == "open" and are_close_times(timed, wanted.interval_ms):
            raise ValueError(
                "the name of its times says open time, but they are a moment before a candle "
                f"begins, such as {min(timed)} ms: call them close_time"
            )
        ours, other = (as_open, as_close) if means == "open" else (as_close, as_open)
        _check_common(means, ours, other)
        return means
    if are_close_times(timed, wanted.interval_ms):
        return "close"
    open_fits, close_fits = (same and not different for same, different in (as_open, as_close))
    if open_fits != close_fits:
        return "open" if open_fits else "close"
    if max(step(time_ms, stream, wanted) for time_ms in timed) < -1:
        return "open"
    _check_common("vague", max(as_open, as_close), (0, 0))
    return "either"


def _common(timed: Timed, offset: int, stream: Stream, wanted: Wanted) -> tuple[int, int]:
    """How many candles of the stream have the same close in the cache, and how many another, if
    its times are so many intervals from the close times.
    """
    by_step = {step(time_ms, stream, wanted): closes for time_ms, closes in timed.items()}
    same = different = 0
    for time_ms, close in zip(stream.times_ms, stream.closes, strict=True):
        closes = by_step.get(step(time_ms, stream, wanted) + offset)
        if closes is not None:
            same += close in closes
            different += close not in closes
    return same, different


def step(time_ms: int, stream: Stream, wanted: Wanted) -> int:
    """Intervals from the close time of the first candle."""
    return round((time_ms - stream.first_ms) / wanted.interval_ms)


def _check_common(means: Means, ours: tuple[int, int], other: tuple[int, int]) -> None:
    same, different = ours
    if same + different < _COMMON_TO_JUDGE or same > different:
        return
    if other[0] > other[1]:
        raise ValueError(
            f"the name of its times says {means} time, but the closes of the stream show that they "
            f"are {'close' if means == 'open' else 'open'} times"
        )
    raise ValueError(
        f"of {same + different} closes that the stream has too, {different} differ: it is of "
        "another market"
    )
