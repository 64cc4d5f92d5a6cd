"""What each entry is: a candle to apply, one that is passed over and why, or a dead letter.

Pure, like the pipeline: it looks at the entry alone.
"""

from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from marketstate.schemas.candle import Candle, CandleRejected, Update, decode_candle
from marketstate.schemas.closed import FLAGS
from marketstate.schemas.interval import length_ms, read_interval
from marketstate.schemas.partitions import partition_of
from marketstate.worker.engine.changes import Entry, Ignored, Lost, Reading, Unforeseen
from marketstate.worker.keys import shard_of
from marketstate.worker.settings import PREFIX, Settings

_IGNORED: Final = Ignored()
_UNCLOSED: Final = Ignored("unclosed")
_UPDATE: Final = Ignored(
    "unclosed",
    "candles that were written before they close, without a flag that says so, are ignored (the "
    f"counter unclosed has their number): give each candle one of {', '.join(FLAGS)}, or write "
    "only candles that have closed",
)


class Reader:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Needed for every candle.
        self._wanted = settings.wanted_symbols
        self._interval = settings.candle_interval
        self._interval_ms = settings.candle_interval_ms
        self._max_ahead_ms = settings.max_ahead_ms
        self._shards = settings.shards
        self._partition, self._partitions = settings.partition, settings.partitions or 1

    def read(self, entries: Iterable[Entry]) -> list[Reading]:
        """What each entry is, in stream order."""
        in_order = sorted(((entry.order, entry) for entry in entries), key=itemgetter(0))
        return [Reading(entry, order, self.found(entry, order[0])) for order, entry in in_order]

    def is_wanted(self, symbol: str) -> bool:
        return self._wanted is None or symbol in self._wanted

    def found(self, entry: Entry, entry_ms: int) -> Candle | Ignored | Lost | CandleRejected:
        """What an entry is that was written at `entry_ms`."""
        if not entry.fields:
            return Lost()
        try:
            return self._read(entry, entry_ms)
        except CandleRejected as error:
            # A new one. What was raised holds the frames that it came through, and they hold the
            # batch: such cycles, and all their entries, would wait for Python's collector.
            return CandleRejected(*error.args)
        except Exception as error:
            # Nobody knows what it is, so it costs this entry and nothing else (G9).
            text = f"{type(error).__name__}: {str(error)[:200]!r}"
            return Unforeseen(f"internal error: {text}; please report it")

    def _read(self, entry: Entry, entry_ms: int) -> Candle | Ignored:
        candle = decode_candle(entry.fields, entry_ms, self._max_ahead_ms, self._interval_ms)
        if not self.is_wanted(candle.symbol):
            return _IGNORED
        if candle.interval != self._interval and not self._is_of_our_interval(candle):
            return Ignored(why=self._of_another_interval(candle.interval or ""))
        if not candle.is_closed:
            return _UPDATE if isinstance(candle, Update) else _UNCLOSED
        if self._partition is not None:
            self._refuse_of_another_partition(candle.symbol)
        shard = shard_of(candle.symbol, self._shards, self._partitions)
        if shard != entry.shard:
            raise CandleRejected(
                f"symbol {candle.symbol!r} belongs to shard {shard}, but the entry was routed to "
                f"shard {entry.shard}: does it name more than one symbol?"
            )
        return candle

    def _refuse_of_another_partition(self, symbol: str) -> None:
        partition = partition_of(symbol, self._partitions)
        if partition != self._partition:
            stream = self._settings.of_partition(partition).keys.input
            raise CandleRejected(
                f"symbol {symbol!r} belongs to partition {partition} of {self._partitions}: write "
                f"its candles to {stream}"
            )

    def _is_of_our_interval(self, candle: Candle) -> bool:
        """An entry that names no interval is of ours; `60s` and `ONE_MINUTE` are `1m`."""
        return candle.interval is None or length_ms(candle.interval) == self._interval_ms

    def _of_another_interval(self, text: str) -> str:
        ours = f"this group has {PREFIX}CANDLE_INTERVAL={self._settings.candle_interval}"
        if read := read_interval(text):
            return f"candles of {read} are ignored: {ours}"
        return (
            f"candles of {text[:40]!r} are ignored, which is an interval that cannot be read: "
            f"write it like 1m or 4h; {ours}"
        )
