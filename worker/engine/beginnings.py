"""Which window a candle goes into: the one there is, a new one, or one with closes from a cache.

A window starts over after a gap so long that older closes are no history, or that the symbol may
have been retired. So nothing that is published depends on when that happened. Pure, like the
pipeline.
"""

from marketstate.core.window import Window
from marketstate.schemas.candle import Candle
from marketstate.schemas.sequence import Place, missing_between, place, start_after_gaps
from marketstate.worker.engine.changes import Changes, Memory, Older, SymbolChange
from marketstate.worker.engine.mark import Mark
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import PREFIX, Settings


class Beginnings:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._interval = settings.candle_interval
        # Needed for every candle.
        self._interval_ms = settings.candle_interval_ms
        self._retire_after_ms = settings.retire_after_ms
        self._too_long_ms = settings.starts_over_after_ms

    def unchanged(self, shard: int, known: Memory | None) -> SymbolChange:
        known = known or Memory(Window(self._settings.window_size))
        # A window that was lost must not let in again what was applied before.
        last_ms = max(known.window.last_close_time_ms, known.mark.close_time_ms)
        return SymbolChange(
            shard,
            known.window,
            known.mark,
            last_close_time_ms=last_ms,
            lacks_closes=known.lacks_closes,
            longer=known.longer,
        )

    def change_for(
        self, candle: Candle, change: SymbolChange, changes: Changes, older: Older
    ) -> SymbolChange:
        """The change to which the candle belongs: another one, if a window begins with it, or if
        closes that are missing before it come from a cache.
        """
        last_ms, close_time_ms = change.last_close_time_ms, candle.close_time
        if self._begins(last_ms, close_time_ms):
            change = self._beginning(candle, change, changes, older)
            changes.symbols[candle.symbol] = change
        elif change.lacks_closes and place(last_ms, close_time_ms, self._interval_ms) is Place.NEXT:
            change = self._completed(candle, change, older)
            changes.symbols[candle.symbol] = change
        return change

    def _begins(self, last_close_time_ms: int, close_time_ms: int) -> bool:
        gap_ms = close_time_ms - last_close_time_ms
        return not last_close_time_ms or gap_ms >= self._too_long_ms

    def _beginning(
        self, candle: Candle, before: SymbolChange, changes: Changes, older: Older
    ) -> SymbolChange:
        """The window that begins with this candle, and with the closes before it from a cache."""
        has = [(candle.close_time, candle.close)]
        history = older(candle.symbol, self._interval, has)
        start = start_after_gaps(history[0], candle.close_time, self._too_long_ms)
        times_ms, closes = history[0][start:], history[1][start:]
        if last_ms := before.last_close_time_ms:
            self._tell_of_start_over(candle, last_ms, changes, is_gap=not times_ms)
        return SymbolChange(
            before.shard,
            Window(self._settings.window_size),
            Mark(),
            [*times_ms],
            [*closes],
            times_ms[-1] if times_ms else 0,
            starts_over=last_ms > 0,
            longer=before.longer,
        )

    def _tell_of_start_over(
        self, candle: Candle, last_ms: int, changes: Changes, *, is_gap: bool
    ) -> None:
        between = f"between {utc(last_ms)} and {utc(candle.close_time)} UTC"
        if candle.close_time - last_ms >= self._retire_after_ms:
            # Not counted: if the symbol was retired, nobody knows of the gap.
            text = (
                f"{candle.symbol}: no candle {between}, which is {self._settings.retire_after} or "
                "longer: its window starts over"
            )
            changes.warnings.append(("starts over", text))
            return
        missing = missing_between(last_ms, candle.close_time, self._interval_ms)
        changes.count(
            "restarted",
            f"{candle.symbol}: {missing} candles are missing {between}, and {PREFIX}MAX_GAP allows "
            f"{self._settings.most_missing}: its window starts over",
        )
        if is_gap:
            changes.count("gap")

    def _completed(self, candle: Candle, change: SymbolChange, older: Older) -> SymbolChange:
        """The window of which closes are missing, with those before this candle from a cache."""
        left = change.all_closes
        has = [*left, (candle.close_time, candle.close)]
        history = older(candle.symbol, self._interval, has)
        if not history[0]:
            return change
        # Nothing can go in front of closes that were written, so all are written again.
        every_ms = [*history[0], *(time_ms for time_ms, _ in left)]
        every = [*history[1], *(close for _, close in left)]
        start = start_after_gaps(every_ms, candle.close_time, self._too_long_ms)
        times_ms, closes = every_ms[start:], every[start:]
        if not times_ms:
            return change
        last_ms = max(times_ms[-1], change.mark.close_time_ms)
        return SymbolChange(
            change.shard,
            Window(self._settings.window_size),
            change.mark,
            times_ms,
            closes,
            last_ms,
            starts_over=bool(left),
            lacks_closes=True,
            longer=change.longer,
        )
