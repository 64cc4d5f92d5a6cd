"""Which closes of candle files belong into the windows of a symbol, and in front of what there is.

Pure: `command.py` reads and writes.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from marketstate.schemas.candle import Candle
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.longer import Longer, TimedClose, longer_interval, resampled
from marketstate.schemas.sequence import Place, place, start_after_gaps
from marketstate.worker.settings import Settings


class Closes:
    """The last closes of each symbol in each interval that candles of the files can make. The
    candles come by time.
    """

    def __init__(self, settings: Settings, interval: str) -> None:
        """`interval` is that of the files."""
        self._window_size = settings.window_size
        self._made: Final[dict[str, Longer | None]] = {}
        """How each interval is made; None for that of the files."""
        for each in settings.each_interval:
            if each.candle_interval_ms == interval_ms(interval):
                self._made[each.candle_interval] = None
                continue
            try:
                self._made[each.candle_interval] = longer_interval(each.candle_interval, interval)
            except ValueError:
                continue
        self._last: dict[str, TimedClose] = {}
        self._closes: dict[tuple[str, str], deque[TimedClose]] = {}

    @property
    def intervals(self) -> list[str]:
        return list(self._made)

    @property
    def symbols(self) -> list[str]:
        return sorted(self._last)

    def take(self, candle: Candle) -> None:
        one, last = (candle.close_time, candle.close), self._last.get(candle.symbol)
        for name, longer in self._made.items():
            ended = [one] if longer is None else longer.ended_by(last, *one)
            if ended:
                key = candle.symbol, name
                self._closes.setdefault(key, deque(maxlen=self._window_size)).extend(ended)
        self._last[candle.symbol] = one

    def of(self, symbol: str, interval: str) -> list[TimedClose]:
        return list(self._closes.get((symbol, interval), ()))


class Filled(NamedTuple):
    """What is written to a window."""

    in_front: list[TimedClose]
    """Of what is there."""
    behind: list[TimedClose]
    """Where nothing is there: what the shorter window gives."""
    why: str
    """Why there is nothing to write; or an empty text."""


def filled(
    settings: Settings,
    history: Sequence[TimedClose],
    there: Sequence[TimedClose],
    shorter: Sequence[TimedClose] = (),
    candle_interval: str = "",
) -> Filled:
    """The window of one interval, whose settings these are: `history` are the closes of the files,
    `there` those that it has. What it has stays, and no close is put behind it.

    A longer interval whose window is empty gets what the window of the candle interval, `shorter`,
    gives, as a worker would begin it.
    """
    name, step_ms, most = (
        settings.candle_interval,
        settings.candle_interval_ms,
        settings.window_size,
    )
    behind: list[TimedClose] = []
    if not there and settings.longer_interval:
        made = resampled(longer_interval(name, candle_interval), shorter)
        last_ms = history[-1][0] if history else 0
        behind = [one for one in made if place(last_ms, one[0], step_ms) is Place.NEXT][-most:]
    known = [*there, *behind]
    if len(there) >= most:
        return Filled([], [], f"it is full, with {len(there):,} closes")
    if known:
        older = [one for one in history if place(one[0], known[0][0], step_ms) is Place.NEXT]
        until_ms = known[0][0]
    else:
        older = list(history)
        until_ms = older[-1][0] if older else 0
    start = start_after_gaps(
        [time_ms for time_ms, _ in older], until_ms, settings.starts_over_after_ms
    )
    room = most - len(known)
    in_front = older[start:][-room:] if room > 0 else []
    why = ""
    if not history:
        why = "the files have no close for it that can be used"
    elif not older:
        why = "the files have no older close than it has"
    elif not in_front:
        why = "between the files and what it has is a gap with which a window starts over"
    return Filled(in_front, behind if in_front else [], why)
