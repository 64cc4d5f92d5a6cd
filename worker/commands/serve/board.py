"""What every page of one interval is shown, and what is new in it since a page last heard of it.

Nothing is queued for a page. Whenever it can take a message, it gets all that has changed since the
event that it had last. So a slow page costs no memory, and what many pages need is encoded once.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final, NamedTuple

import msgspec

from marketstate.worker.commands.market_follower import Followed
from marketstate.worker.commands.markets import Market, kept_of_each
from marketstate.worker.commands.serve.document import (
    CLOSES_KEPT,
    SCHEMA,
    GroupDocument,
    MarketDocument,
    of_market,
    of_settings,
)
from marketstate.worker.settings import Settings

# Symbols that are gone are remembered, so that pages are told. With more, everything is sent again.
_MOST_GONE: Final = 1_000
# How soon a browser connects again.
_RETRY_MS: Final = 2_000


class _Shown(NamedTuple):
    market: Market
    changed: int
    """The number of the last change."""
    before: int
    """That of the change before it."""
    states: int
    """How many states the last change brought; 0 if they do not follow those before it."""


class Board:
    """Used in the thread of the event loop only."""

    _life: str
    _group_changed: int
    _gone: dict[str, int]
    _encoded: dict[object, bytes]

    def __init__(self, settings: Settings, intervals: Sequence[str], states_kept: int) -> None:
        """`settings` are those of the interval, which is one of `intervals`."""
        self._fixed = {
            "schema": SCHEMA,
            "version": version("marketstate-worker"),
            "settings": of_settings(settings, intervals),
        }
        self._states_kept = states_kept
        self._markets: dict[str, _Shown] = {}
        self._group = GroupDocument()
        self._news = asyncio.Event()
        self._number = 0
        self._begin()

    @property
    def event_id(self) -> str:
        return f"{self._life}-{self._number}"

    async def news(self) -> None:
        """Until something changes."""
        await self._news.wait()

    def market(self, symbol: str) -> Market | None:
        shown = self._markets.get(symbol)
        return shown.market if shown else None

    @property
    def kept(self) -> int:
        """How many states of each market are kept for its plots."""
        return kept_of_each(len(self._markets), self._states_kept)

    def take(self, followed: Followed | None, group: GroupDocument | None) -> None:
        """What was read now; None of what stays as it is."""
        if followed is not None and followed.is_new:
            self._begin()
        number = self._number + 1
        markets_changed = followed is not None and self._take_markets(followed, number)
        if group is not None:
            self._group = group
            self._group_changed = number
        if markets_changed or group is not None:
            self._tell(number)

    def say_again(self) -> None:
        """The group as it is: pages hear of us from time to time, also while a reply is late."""
        self._group_changed = self._number + 1
        self._tell(self._group_changed)

    def events(self, last_id: str) -> bytes:
        """All that has changed since the event with this id, which may be from another life."""
        seen = self._number_of(last_id)
        if seen is None:
            return b"retry: %d\n" % _RETRY_MS + self._event(b"all", self.everything())
        found = b""
        if changes := self._once(("markets", seen), lambda: self._changes(seen)):
            found += self._event(b"markets", _now(changes))
        if self._group_changed > seen:
            group = self._once("group", lambda: msgspec.json.encode(self._group))
            found += self._event(b"group", _now(group))
        return found

    def everything(self) -> bytes:
        return _now(self._once("all", self._everything))

    def _begin(self) -> None:
        """A new life, of which no page has an event. Numbers go on: those of the changes that are
        shown stay, and none of them is ahead.
        """
        self._life = secrets.token_hex(4)
        self._group_changed = 0
        self._gone = {}
        self._encoded = {}

    def _take_markets(self, followed: Followed, number: int) -> bool:
        shown = {
            symbol: _moved(self._markets.get(symbol), market, number)
            for symbol, market in followed.markets.items()
        }
        gone = self._markets.keys() - shown.keys()
        self._markets = shown
        self._gone |= dict.fromkeys(gone, number)
        if len(self._gone) > _MOST_GONE:
            self._begin()
        return bool(gone) or any(each.changed == number for each in shown.values())

    def _tell(self, number: int) -> None:
        self._number = number
        self._encoded.clear()
        self._news.set()
        self._news = asyncio.Event()

    def _number_of(self, event_id: str) -> int | None:
        life, _, digits = event_id.partition("-")
        if life != self._life or not (digits.isascii() and digits.isdigit() and len(digits) < 16):
            return None
        return int(digits) if int(digits) <= self._number else None

    def _changes(self, seen: int) -> bytes:
        markets = [_since(each, seen) for each in self._markets.values() if each.changed > seen]
        gone = [symbol for symbol, number in self._gone.items() if number > seen]
        gone = [symbol for symbol in gone if symbol not in self._markets]
        if not markets and not gone:
            return b""
        return msgspec.json.encode({"markets": markets, "gone": gone})

    def _everything(self) -> bytes:
        markets = [of_market(each.market, 1, whole=True) for each in self._markets.values()]
        return msgspec.json.encode(self._fixed | {"group": self._group, "markets": markets})

    def _once(self, name: object, encode: Callable[[], bytes]) -> bytes:
        """Until something changes."""
        found = self._encoded.get(name)
        if found is None:
            found = self._encoded[name] = encode()
        return found

    def _event(self, name: bytes, document: bytes) -> bytes:
        # JSON of msgspec has no line break.
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (self.event_id.encode(), name, document)


def _moved(before: _Shown | None, market: Market, number: int) -> _Shown:
    if before is None:
        return _Shown(market, number, 0, 0)
    if market is before.market:
        return before
    last = before.market.record
    # After an outage, all that is there was read again.
    if market.record is last or market.record == last:
        return before._replace(market=market)
    newest_first = enumerate(reversed(market.recent[-CLOSES_KEPT:]))
    states = next((count for count, record in newest_first if record == last), 0)
    return _Shown(market, number, before.changed, states)


def _since(each: _Shown, seen: int) -> MarketDocument:
    if each.states == 0 or each.before > seen:
        return of_market(each.market, 1, whole=True)
    return of_market(each.market, each.states, whole=False)


def _now(document: bytes) -> bytes:
    """The same object of JSON with the time at which it is sent."""
    return b'{"now_ms":%d,%s' % (time.time() * 1_000, document[1:])
