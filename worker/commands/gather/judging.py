"""What becomes of each entry: a candle for the workers, an update to wait with, or neither."""

from collections.abc import Iterable, Mapping
from typing import Final

from marketstate.schemas.candle import Candle, CandleRejected, decode_candle
from marketstate.worker.commands.gather.closing import Closing
from marketstate.worker.commands.gather.taken import (
    LOST,
    OTHER_EXCHANGE,
    UNCLOSED,
    Batch,
    Taken,
    check_room,
)
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import Settings

MAX_EXCHANGE_CHARACTERS: Final = 64
_USE_UPDATES: Final = (
    "; if the stream has updates of running candles, whose timestamp is when they opened, gather "
    "it with --updates"
)


class Judge:
    """Remembers the exchange of each symbol, and with --updates the latest update of each candle.

    Two exchanges give one symbol two prices at a time. So a symbol is gathered from one of them:
    the one that was asked for, or the first one that was met.
    """

    def __init__(
        self,
        settings: Settings,
        closing: Closing | None,
        only_exchange: str | None,
        exchanges: Mapping[str, str],
    ) -> None:
        """Without `closing`, candles must say or show that they have closed."""
        self._max_ahead_ms = settings.max_ahead_ms
        self._interval_ms = settings.candle_interval_ms
        self._max_symbols = settings.max_symbols
        self._closing = closing
        self._only = only_exchange.lower() if only_exchange else None
        self._exchanges = dict(exchanges)
        self._unclosed: dict[tuple[str, str], int] = {}
        """The close times of candles of which the last that was met is an update."""

    def judge(self, entries: Iterable[Taken]) -> Batch:
        batch = Batch()
        for taken in entries:
            try:
                self._judge(taken, batch)
            except CandleRejected as error:
                batch.reject(taken, str(error))
        return batch

    def _judge(self, taken: Taken, batch: Batch) -> None:
        fields = taken.fields
        if fields is None:
            batch.end(taken, LOST, f"{taken} was trimmed before it was finished")
            return
        exchange = _exchange_of(fields)
        if self._only and exchange and exchange.lower() != self._only:
            batch.end(taken, OTHER_EXCHANGE)
            return
        candle = self._read(taken, fields)
        if exchange and not self._only and not self._is_its_exchange(candle, exchange, batch):
            batch.end(
                taken,
                OTHER_EXCHANGE,
                f"{candle.symbol} comes from {self._exchanges[candle.symbol]}; what {exchange} "
                "says of it is left out: choose one with --exchange",
            )
        elif self._closing is not None:
            self._closing.take(taken, candle, batch)
        elif candle.is_closed:
            self._unclosed.pop((taken.stream, candle.symbol), None)
            batch.append(taken, candle)
        else:
            self._pass_over(taken, candle, batch)

    def _read(self, taken: Taken, fields: Mapping[bytes, bytes]) -> Candle:
        if self._closing is not None:
            return self._closing.read(taken, fields)
        try:
            return decode_candle(
                fields, taken.written_ms or 0, self._max_ahead_ms, self._interval_ms
            )
        except CandleRejected as error:
            is_of_open = b"timestamp" in fields and not fields.keys() & {b"close_time", b"stop"}
            hint = _USE_UPDATES if is_of_open else ""
            raise CandleRejected(f"{error}{hint}") from None

    def _pass_over(self, taken: Taken, candle: Candle, batch: Batch) -> None:
        """It has not closed. Of a feed that never says that one has, nothing would ever come."""
        key = (taken.stream, candle.symbol)
        before_ms = self._unclosed.get(key)
        if before_ms is None:
            check_room(candle.symbol, len(self._unclosed), self._max_symbols)
        never_closed = before_ms is not None and before_ms < candle.close_time
        self._unclosed[key] = candle.close_time
        warning = (
            f"{candle.symbol}: nothing in {taken.stream} says that the candle of "
            f"{utc(before_ms or 0)} UTC has closed; if that is so with each, use --updates"
        )
        batch.end(taken, UNCLOSED, warning if never_closed else None)

    def _is_its_exchange(self, candle: Candle, exchange: str, batch: Batch) -> bool:
        if candle.symbol not in self._exchanges:
            check_room(candle.symbol, len(self._exchanges), self._max_symbols)
            self._exchanges[candle.symbol] = batch.exchanges[candle.symbol] = exchange
        return self._exchanges[candle.symbol].lower() == exchange.lower()


def _exchange_of(fields: Mapping[bytes, bytes]) -> str:
    """Empty if the entry names none."""
    raw = fields.get(b"exchange", b"")
    try:
        exchange = raw[: 4 * MAX_EXCHANGE_CHARACTERS].decode()
    except UnicodeDecodeError:
        exchange = "\0"
    if not exchange.isprintable() or len(exchange) > MAX_EXCHANGE_CHARACTERS:
        raise CandleRejected(
            f"exchange {raw[:80].decode(errors='replace')!r} is not at most "
            f"{MAX_EXCHANGE_CHARACTERS} printable characters"
        )
    return exchange
