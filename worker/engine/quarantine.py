"""Symbols that are set aside, because what Redis holds of them is damaged (G9).

    detected   when the symbol is loaded, or by a commit
    meanwhile  their entries become dead letters with the reason; other symbols are not affected
    repaired   detected at the next renewal of the leases, or with the next entry of the symbol

A symbol for which the calculation fails in a way that nobody has foreseen is set aside too, until
another worker takes its shard.

A hash in Redis has the reasons, for `status`, `check` and `verify`. If somebody has overwritten it,
only these commands are affected, until it is removed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from marketstate.worker.engine.changes import Damaged, Memory
from marketstate.worker.engine.loading import Listed, Loading
from marketstate.worker.keys import Keys, shard_name
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.scripts import Scripts

# How many symbols of a shard are looked at when its lease is renewed; all of them take turns.
LOOKS_AT_ONCE: Final = 100


@dataclass
class Shard:
    """A shard that we hold. Each symbol that we remember is either in `symbols` or in `aside`."""

    number: int
    token: str
    last_commit: bytes
    """The id of the last one that we know of; empty if there was none. Not as text: somebody may
    have put anything there.
    """
    symbols: dict[str, Memory] = field(default_factory=dict)
    aside: dict[str, Damaged] = field(default_factory=dict)
    to_load: list[str] = field(default_factory=list)
    """Symbols of which Redis may have more than we remember."""
    is_noted: bool = True
    """Whether Redis has what is set aside."""


class Quarantine:
    def __init__(self, settings: Settings, scripts: Scripts, loading: Loading) -> None:
        self._settings = settings
        self._keys: Keys = settings.keys
        self._scripts = scripts
        self._loading = loading

    def take_over(self, shard: Shard, listed: Listed) -> None:
        """A shard was taken: set aside what cannot be a symbol. What its last holder had set aside
        stays so until it is looked at again.
        """
        self.set_aside(shard, listed.damaged)
        shard.aside |= {
            symbol: Damaged(symbol.encode(), "")
            for symbol in listed.noted - listed.damaged.keys()
            if self._is_of(symbol, shard.number)
        }

    def set_aside(self, shard: Shard, damaged: Mapping[str, Damaged]) -> None:
        for symbol, found in damaged.items():
            log.error("%s is set aside: %s", symbol, found.reason)
            shard.symbols.pop(symbol, None)
        shard.aside |= damaged
        self._note(shard, {symbol: found.reason for symbol, found in damaged.items()})

    def look_at_some(self, shard: Shard) -> None:
        """At every renewal, so that a repair is noticed without a candle."""
        repairable = (symbol for symbol, found in shard.aside.items() if not found.is_ours)
        self.look_again(shard, list(islice(repairable, LOOKS_AT_ONCE)))
        if not shard.is_noted:
            self._note(shard, {symbol: found.reason for symbol, found in shard.aside.items()})

    def look_again(self, shard: Shard, symbols: Iterable[str]) -> None:
        """Release those of the `symbols` that have been repaired."""
        looked_at = {
            symbol: shard.aside.pop(symbol) for symbol in symbols if not shard.aside[symbol].is_ours
        }
        if not looked_at:
            return
        damaged: dict[str, Damaged] = {}
        for _, loaded in self._loading.load({shard.number: [it.name for it in looked_at.values()]}):
            damaged |= loaded.damaged
            shard.symbols |= loaded.symbols
        still = looked_at.keys() & damaged.keys()
        shard.aside |= {symbol: damaged[symbol] for symbol in looked_at if symbol in still}
        news = {
            symbol: damaged[symbol].reason if symbol in still else ""
            for symbol in looked_at
            if symbol not in still or looked_at[symbol] != damaged[symbol]
        }
        for symbol, reason in news.items():
            if reason:
                log.error("%s is still set aside: %s", symbol, reason)
            else:
                log.warning("%s is repaired, and is processed again", symbol)
        self._note(shard, news)

    def _note(self, shard: Shard, reasons: Mapping[str, str]) -> None:
        """`""` for those that are released. If the lease is lost, nothing is written; the next
        commit or renewal finds that.
        """
        if not reasons:
            return
        verdict = self._scripts.quarantine(
            keys=[self._keys.quarantine, self._keys.lease(shard.number)],
            args=[shard.token, *(text for pair in reasons.items() for text in pair)],
        )
        if shard.is_noted and verdict == b"wrong type":
            log.warning(
                "the key %s is not a hash, so nobody can see which symbols are set aside; rename "
                "or delete it",
                self._keys.quarantine,
            )
        shard.is_noted = verdict != b"wrong type"

    def _is_of(self, symbol: str, shard: int) -> bool:
        """Also for the names that loading gives to fields that cannot be symbols."""
        if " " in symbol:
            return symbol.startswith(f"{shard_name(shard)} ")
        return self._settings.shard_of(symbol) == shard
