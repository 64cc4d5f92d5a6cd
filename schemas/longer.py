"""Candles of a longer interval, made of the closes of a shorter one, and the names of their keys.

    longer = longer_interval("5m", "1m")
    for close_time_ms, close in resampled(longer, [(time_ms, close), ...]):
        ...

A state needs closes alone, so the closes of 5m are those of the candles of 1m that end one of 5m:
their close time is a boundary, aligned to UTC, and weeks begin on Monday. Two feeds may write
...999 ms or the full minute, so a close time counts as the nearest boundary of the shorter
interval.

Where the candle that ends a longer one is missing, the last one before the boundary counts. That is
known when the next candle comes. The close time is where it would have been: as far from the
boundary as that last candle is from its own. So it does not tell when somebody heard of it, and the
closes of a feed stay evenly spaced. A longer candle without any candle in it is missing.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from marketstate.schemas.interval import interval_ms

# 1970-01-05 was a Monday.
_MONDAY_MS: Final = 4 * 86_400_000

TimedClose = tuple[int, float]
"""Close time in ms, and close."""


class Longer(NamedTuple):
    """An interval whose candles are made of those of a shorter one."""

    name: str
    interval_ms: int
    shorter_ms: int
    phase_ms: int
    """From 1970 to one of its boundaries."""
    shorter_phase_ms: int

    def boundary(self, close_time_ms: int) -> int:
        """The end of the candle that closes then: the nearest boundary of the shorter interval."""
        since_ms = close_time_ms - self.shorter_phase_ms + self.shorter_ms // 2
        return since_ms // self.shorter_ms * self.shorter_ms + self.shorter_phase_ms

    def end(self, boundary_ms: int) -> int:
        """The end of the longer candle that a candle with this end belongs to."""
        candles = -((self.phase_ms - boundary_ms) // self.interval_ms)
        return candles * self.interval_ms + self.phase_ms

    def ends_between(self, last_boundary_ms: int, boundary_ms: int) -> bool:
        """Whether one may end with a candle that ends there, after one that ended at the other:
        true, too, if that one has closed its own already.
        """
        end_ms = self.end(boundary_ms)
        return end_ms == boundary_ms or self.end(last_boundary_ms) != end_ms

    def ended_by(
        self, last: TimedClose | None, close_time_ms: int, close: float
    ) -> list[TimedClose]:
        """The longer candles that end with this candle: the one that it closes, and before that the
        one of `last`, the candle before it, if nothing has closed that. At most two.
        """
        found = []
        boundary_ms = self.boundary(close_time_ms)
        end_ms = self.end(boundary_ms)
        if last is not None:
            last_boundary_ms = self.boundary(last[0])
            if last_boundary_ms >= boundary_ms:
                return []
            last_end_ms = self.end(last_boundary_ms)
            if last_boundary_ms < last_end_ms < end_ms:
                found.append((last_end_ms + last[0] - last_boundary_ms, last[1]))
        if boundary_ms == end_ms:
            found.append((close_time_ms, close))
        return found


def longer_interval(name: str, shorter: str) -> Longer:
    """Both in our notation, without months. Raises ValueError if candles of one cannot be made of
    candles of the other.
    """
    length_ms, shorter_ms = interval_ms(name) or 0, interval_ms(shorter) or 0
    if length_ms <= shorter_ms or length_ms % shorter_ms:
        raise ValueError(f"{name} is not a multiple of {shorter}")
    phase_ms, shorter_phase_ms = _phase_ms(name), _phase_ms(shorter)
    if (phase_ms - shorter_phase_ms) % shorter_ms:
        raise ValueError(f"{name} does not begin when a candle of {shorter} does")
    return Longer(name, length_ms, shorter_ms, phase_ms, shorter_phase_ms)


def _phase_ms(name: str) -> int:
    return _MONDAY_MS if name.endswith("w") else 0


def resampled(
    longer: Longer, closes: Iterable[TimedClose], last: TimedClose | None = None
) -> Iterator[TimedClose]:
    """The closes of the longer candles that end with these closes, oldest first; `last` is the one
    before them. The longer candle of the newest close may not have ended: it is left out.
    """
    for one in closes:
        yield from longer.ended_by(last, *one)
        last = one


def interval_prefix(output_prefix: str, interval: str) -> str:
    """`quantum:marketstate.5m:`, what the hashes of a longer interval start with; for a prefix that
    ends in a colon. The pattern of the other hashes does not find them.
    """
    return f"{output_prefix.removesuffix(':')}.{interval}:"


def interval_stream(output_stream: str, interval: str) -> str:
    """`quantum:stream:marketstate.5m`: the output stream of a longer interval."""
    return f"{output_stream}.{interval}"
