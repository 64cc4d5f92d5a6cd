"""Updates of running candles: the last one before the next candle begins is the close.

It is not acknowledged until then, so it stays pending in the group of its stream. After a crash it
comes again, before anything newer: there is no other state to keep.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from marketstate.schemas.candle import Candle, CandleRejected, decode_candle
from marketstate.schemas.interval import close_time_ms, length_ms, read_interval
from marketstate.schemas.sequence import Place, place
from marketstate.schemas.times import time_ms
from marketstate.worker.commands.gather.taken import (
    INCOMPLETE,
    LATE,
    SUPERSEDED,
    Batch,
    Taken,
    check_room,
)
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import Settings

# Of an interval: the last update of a candle is written at most this long before its end.
_SILENCE: Final = 20
_NO_LIMIT_MS: Final = 10**15
# An entry with one of these says itself when its candle closes, in one of the forms of
# schemas/candle_forms.py.
_TIMES: Final = frozenset({b"close_time", b"closeTime", b"openTime", b"start", b"stop"})
_DOCUMENTS: Final = frozenset({b"payload", b"data"})


class _Held(NamedTuple):
    taken: Taken
    candle: Candle


class Closing:
    """The latest update of each symbol's running candle, for each stream and interval."""

    def __init__(self, settings: Settings, max_silence_s: float | None) -> None:
        """A candle is complete if its last update was written at most `max_silence_s` before its
        end; None for a twentieth of the interval.
        """
        self._interval = settings.candle_interval
        self._max_ahead_ms = settings.max_ahead_ms
        self._max_symbols = settings.max_symbols
        self._max_silence_s = max_silence_s
        self._held: dict[tuple[str, ...], _Held] = {}

    def read(self, taken: Taken, fields: Mapping[bytes, bytes]) -> Candle:
        """The candle that an update is of, whatever its flag says. Raises CandleRejected."""
        candle = decode_candle(self._with_times(fields), taken.written_ms or 0, _NO_LIMIT_MS)
        written_ms, its_ms = taken.written_ms, self._length_ms(candle)
        if written_ms and candle.close_time - written_ms > its_ms + self._max_ahead_ms:
            raise CandleRejected(
                f"the candle closes at {utc(candle.close_time)} UTC, more than an interval after "
                f"this update was written, at {utc(written_ms)}: see the clock of its writer"
            )
        return candle

    def take(self, taken: Taken, candle: Candle, batch: Batch) -> None:
        """Raises CandleRejected if there are too many symbols."""
        key = (taken.stream, candle.symbol, candle.interval or "")
        held = self._held.get(key)
        if held is None:
            check_room(candle.symbol, len(self._held), self._max_symbols)
        else:
            match place(held.candle.close_time, candle.close_time, self._length_ms(candle)):
                case Place.BEFORE:
                    batch.end(taken, LATE, f"{taken}, of {candle.symbol}, is of an older candle")
                    return
                case Place.SAME:
                    batch.end(held.taken, SUPERSEDED)
                case Place.NEXT:
                    self._close(held, batch)
        self._held[key] = _Held(taken, candle)

    def _close(self, held: _Held, batch: Batch) -> None:
        taken, candle = held
        silence_ms = candle.close_time - (taken.written_ms or candle.close_time)
        if silence_ms <= self._most_silence_ms(candle):
            batch.append(taken, msgspec.structs.replace(candle, is_closed=True))
            return
        batch.end(
            taken,
            INCOMPLETE,
            f"{candle.symbol}: the last update of the candle that closes at "
            f"{utc(candle.close_time)} UTC was written {silence_ms / 1_000:.1f} s before that; "
            "its close is not known, so it is left out",
        )

    def _most_silence_ms(self, candle: Candle) -> float:
        if self._max_silence_s is not None:
            return self._max_silence_s * 1_000
        return self._length_ms(candle) / _SILENCE

    def _length_ms(self, candle: Candle) -> int:
        its_ms = length_ms(candle.interval or self._interval)
        if its_ms is None:
            raise CandleRejected(
                f"interval {(candle.interval or '')[:40]!r} cannot be read, so nobody knows when "
                "the candle ends"
            )
        return its_ms

    def _with_times(self, fields: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Without cryptofeed's flag; and with open and close time, if there is just an open time,
        or a `timestamp`, which is when the candle opened.
        """
        if not _DOCUMENTS.isdisjoint(fields):
            return fields
        fields = {name: value for name, value in fields.items() if name != b"closed"}
        name = b"open_time" if b"open_time" in fields else b"timestamp"
        if name not in fields or not _TIMES.isdisjoint(fields):
            return fields
        try:
            spelled = fields.get(b"interval", b"").decode() or self._interval
            interval = read_interval(spelled)
            if interval is None:
                raise ValueError(f"interval {spelled[:40]!r} cannot be read")
            open_ms = time_ms(fields[name].decode())
            close_ms = close_time_ms(open_ms, interval)
        except ValueError as error:
            raise CandleRejected(f"no close time: {error}") from None
        return {**fields, b"open_time": b"%d" % open_ms, b"close_time": b"%d" % close_ms}
