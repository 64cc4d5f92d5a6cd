"""The candles that cryptofeed's Redis stream back end writes, one stream for each symbol.

Its fields are `exchange symbol start stop interval trades open close high low volume closed
timestamp receipt_timestamp`: times as seconds with a fraction, `closed` as `True` or `False`, and
`None` as text. `stop` differs by exchange: the last instant of the candle, a second or a tenth
before its end, or the next open. So the close time comes from `start` and `interval`.

`closed` is right for Binance; of most exchanges it is always `False`, of some always `None`, and of
OKX and OKCoin always `True`.
"""

from collections.abc import Mapping
from typing import Final

from marketstate.schemas.interval import close_time_ms, read_interval
from marketstate.schemas.times import time_ms

# From the last millisecond of a candle to any `stop` that an exchange gives it.
_MOST_APART_MS: Final = 1_000
# Of a month, whose end some of them guess.
_MOST_APART_OF_MONTHS_MS: Final = 3 * 86_400_000
_ALWAYS_CLOSED: Final = {b"OKX", b"OKCOIN"}
_NOT_SAID: Final = {b"", b"none"}
_INSTEAD: Final = {b"start", b"stop", b"closed"}


def is_of_cryptofeed(fields: Mapping[bytes, bytes]) -> bool:
    return b"start" in fields and b"stop" in fields and b"close_time" not in fields


def in_our_names(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The fields as a flat candle has them: `open_time`, `close_time` and `is_closed`.

    Raises ValueError if a time cannot be read, if `stop` is not where the candle ends, or if
    `closed` is one of those that are always true.
    """
    closed = fields.get(b"closed", b"").lower()
    if closed == b"true" and fields.get(b"exchange") in _ALWAYS_CLOSED:
        raise ValueError(
            "cryptofeed says of every update of this exchange that its candle has closed; gather "
            "it with --updates: see worker/commands/README.md, Gathering"
        )
    start_ms, stop_ms = (time_ms(fields[name].decode()) for name in (b"start", b"stop"))
    spelled = fields.get(b"interval", b"").decode()
    interval = read_interval(spelled)
    end_ms = close_time_ms(start_ms, interval) if interval else stop_ms
    is_in_months = interval is not None and interval[-1] == "M"
    most_apart_ms = _MOST_APART_OF_MONTHS_MS if is_in_months else _MOST_APART_MS
    if abs(stop_ms - end_ms) > most_apart_ms:
        raise ValueError(
            f"stop {stop_ms} is not the end of a candle of {spelled} that starts at {start_ms}; "
            f"expected {end_ms}, in ms"
        )
    ours = {name: value for name, value in fields.items() if name not in _INSTEAD}
    ours |= {b"open_time": b"%d" % start_ms, b"close_time": b"%d" % end_ms}
    if closed not in _NOT_SAID:
        ours[b"is_closed"] = closed
    return ours
