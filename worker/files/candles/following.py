"""How the candles of one series follow each other: doubles do not count, and gaps are told."""

from collections.abc import Sequence
from typing import Final

import msgspec

from marketstate.schemas.candle import Candle
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.sequence import Place, missing_between, place
from marketstate.worker.files.candles.columns import shown
from marketstate.worker.files.findings import Findings

# Here, because in an enum it takes as long to find as all the rest of the usual case.
_NEXT: Final = Place.NEXT


class ReadCandle(msgspec.Struct, frozen=True, gc=False):
    """Its texts are made when somebody asks: hardly any candle has something to tell."""

    candle: Candle
    file: str
    place: str | int
    """In the file: the line, or what else there is, such as `entry 5-0`."""
    column: str
    cell: str
    """Its time as the file has it, in that column."""

    @property
    def where(self) -> str:
        """File and line."""
        line = f"line {self.place}" if isinstance(self.place, int) else self.place
        return f"{self.file}, {line}"

    @property
    def written(self) -> str:
        """Its time as the file has it, with the name of the column."""
        return f"{self.column} {shown(self.cell)}"


class Following:
    """Remembers the last candle of each symbol."""

    def __init__(self, interval: str, findings: Findings, *, tell_gaps: bool) -> None:
        self._interval_ms = interval_ms(interval) or 1
        self._findings = findings
        self._tell_gaps = tell_gaps
        self._last: dict[str, ReadCandle] = {}

    def place_of(self, read: ReadCandle) -> Place:
        """Where a candle belongs; only those that are NEXT count. A double is told, and a gap."""
        candle = read.candle
        last = self._last.get(candle.symbol)
        # The usual case: this is asked for every candle.
        if last is None or candle.close_time - last.candle.close_time == self._interval_ms:
            self._last[candle.symbol] = read
            return _NEXT
        if self._tell_gaps:
            self._tell_gap(last, read)
        found = place(last.candle.close_time, candle.close_time, self._interval_ms)
        if found is Place.NEXT:
            self._last[candle.symbol] = read
        elif found is Place.SAME:
            what = f"{read.written} is the candle of {last.where}, {last.written}"
            if read.candle.close == last.candle.close:
                self._findings.duplicates(read.where, what)
            else:
                closes = f"close {read.candle.close!r}, there {last.candle.close!r}"
                self._findings.revised(read.where, f"{what}: {closes}")
        return found

    def all_are_next(self, reads: Sequence[ReadCandle]) -> bool:
        """Whether `place_of` would find nothing unusual in any of these, which are of one symbol.
        If so, they are remembered; if not, it must be asked for each.
        """
        symbol, step_ms = reads[0].candle.symbol, self._interval_ms
        times_ms = [read.candle.close_time for read in reads]
        last = self._last.get(symbol)
        first_ms = times_ms[0] if last is None else last.candle.close_time + step_ms
        if times_ms != [*range(first_ms, first_ms + len(times_ms) * step_ms, step_ms)]:
            return False
        self._last[symbol] = reads[-1]
        return True

    def out_of_order(self, read: ReadCandle) -> str:
        last = self._last[read.candle.symbol]
        return f"{read.written} is earlier than {last.written} of {last.where}"

    def _tell_gap(self, last: ReadCandle, read: ReadCandle) -> None:
        missing = missing_between(last.candle.close_time, read.candle.close_time, self._interval_ms)
        if missing:
            what = (
                f"{missing:,} candle{'s' * (missing > 1)} of {read.candle.symbol} missing between "
                f"{last.written} and {read.written}"
            )
            self._findings.gap(read.where, what, missing)
