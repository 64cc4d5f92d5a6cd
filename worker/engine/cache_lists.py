"""Closes from a list whose values have no times: where they belong, shown by the stream alone.

The list must have the closes that the stream has brought, in one place and one direction, with at
least three changes of price among them: of real candles, fewer are found elsewhere by chance.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from marketstate.schemas.sequence import missing_between
from marketstate.schemas.times import EARLIEST_MS
from marketstate.worker.engine.cache_times import Stream, Wanted
from marketstate.worker.engine.changes import History

CHANGES_TO_CONFIRM: Final = 3
_SAY_TIMES: Final = 'write values with a time, such as {"open_time": 1746373200000, "close": 9.5}'


class NotConfirmed(ValueError):
    """The stream does not show yet where the list belongs; more of its candles may."""


def closes_of_list(
    oldest_first: Sequence[Sequence[float]], stream: Stream, wanted: Wanted
) -> History:
    """From the ends of a list without times, each read in the direction that it would have.

    Raises NotConfirmed if the stream does not confirm one of them, and one place in it.
    """
    run, at = _run_around_first(stream, wanted)
    matches = {
        tuple(closes[: start + at])
        for closes in oldest_first
        for start, close in enumerate(closes)
        if close == run[0] and _confirms(run, closes[start : start + len(run)])
    }
    if len(matches) != 1:
        how = "in more than one way" if matches else "not"
        raise NotConfirmed(
            f"its values have no times, and the closes of the stream ({len(run)} so far) are {how} "
            "found in it, so nothing confirms where it ends and in which direction it runs; "
            + _SAY_TIMES
        )
    closes = matches.pop()[-wanted.most :]
    n = len(closes)
    times_ms = [stream.first_ms - wanted.interval_ms * (n - i) for i in range(n)]
    if times_ms and times_ms[0] < EARLIEST_MS:
        raise ValueError(f"its {n} values would begin before the year 2000")
    return times_ms, closes


def _run_around_first(stream: Stream, wanted: Wanted) -> tuple[list[float], int]:
    """The closes of the stream around the first candle between which none is missing, and where
    among them the first candle is.
    """
    run: list[float] = []
    at, last_ms = 0, 0
    for time_ms, close in zip(stream.times_ms, stream.closes, strict=True):
        if run and missing_between(last_ms, time_ms, wanted.interval_ms):
            if last_ms >= stream.first_ms:
                break
            run = []
        if time_ms == stream.first_ms:
            at = len(run)
        run.append(close)
        last_ms = time_ms
    return run, at


def _confirms(run: Sequence[float], closes: Sequence[float]) -> bool:
    """Whether the list has these closes of the stream, as far as it goes."""
    common = list(run[: len(closes)])
    changes = sum(a != b for a, b in pairwise(common))
    return changes >= CHANGES_TO_CONFIRM and common == list(closes)
