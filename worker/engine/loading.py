"""Reads what Redis has of symbols, and checks it.

If someone else has written to the keys of a symbol, only that symbol is affected (G9): it is
returned as damaged, with what was found and how to repair it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from redis.exceptions import NoScriptError

from marketstate.core.theta import minimum_length
from marketstate.core.window import Window
from marketstate.schemas.candle import CandleRejected, check_symbol
from marketstate.worker.engine import window_codec
from marketstate.worker.engine.changes import Damaged, Memory
from marketstate.worker.engine.mark import Mark, parse_mark
from marketstate.worker.keys import Keys, shard_name
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.asking_client import AskingClient, Word
from marketstate.worker.store.scripts import Scripts

NAMED_IN_LOG: Final = 5
# The most candles that Redis returns at once: it takes about five milliseconds for them.
CANDLES_PER_REPLY: Final = 30_000


class Listed(NamedTuple):
    """What Redis says of a shard before anything of its symbols is read."""

    symbols: list[str]
    """Those that have a mark."""
    damaged: dict[str, Damaged]
    """What has a mark and cannot be a symbol."""
    noted: set[str]
    """What is set aside in the whole group."""


@dataclass
class Loaded:
    """What Redis remembers of some symbols of a shard."""

    symbols: dict[str, Memory] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)


class Loading:
    """What it returns is valid only while the caller holds the shard: then no one else can change
    it. Whether that was so is seen at the next commit, which must still have the same lease.
    """

    def __init__(self, settings: Settings, client: AskingClient, scripts: Scripts) -> None:
        self._keys = settings.keys
        self._longer = settings.longer
        self._client = client
        self._scripts = scripts
        self._window_size = settings.window_size
        self._needed = minimum_length(settings.theta)
        self.at_once = max(1, CANDLES_PER_REPLY // settings.window_size)
        """As many symbols as Redis should return at once."""

    def listed(self, shard: int) -> Listed:
        marks, noted = self._scripts.load(*self._question(shard))
        symbols, damaged = [], {}
        for name in marks[::2]:
            symbol = _symbol(name)
            if symbol is None:
                nickname, found = self._not_a_symbol(shard, name)
                damaged[nickname] = found
            else:
                symbols.append(symbol)
        return Listed(symbols, damaged, {name.decode(errors="replace") for name in noted[::2]})

    def load(self, wanted: Mapping[int, Sequence[bytes]]) -> Iterator[tuple[int, Loaded]]:
        """These symbols of each shard, some at a time. Those that Redis does not know are left out.

        Redis reads the next ones while we check those that it has returned.
        """
        questions = [
            (shard, self._question(shard, names[first : first + self.at_once]))
            for shard, names in wanted.items()
            for first in range(0, len(names), self.at_once)
        ]
        answers = (self._client.ask(self._scripts.load, *question) for _, question in questions)
        coming = next(answers, None)
        for shard, question in questions:
            answer, coming = coming, next(answers, None)
            assert answer is not None
            try:
                reply = answer.read()
            except NoScriptError:
                reply = self._scripts.load(*question)
            yield shard, self._loaded(shard, *reply)

    def _question(
        self, shard: int, names: Sequence[bytes] = (), keys: Keys | None = None
    ) -> tuple[list[str], list[Word]]:
        keys = keys or self._keys
        prefixes = (keys.window(""), keys.state(""), keys.record(""))
        return [keys.marks(shard), keys.quarantine], [*prefixes, self._window_size, *names]

    def _loaded(self, shard: int, found: list[Any], wrong: list[Any]) -> Loaded:
        loaded = self._checked(shard, found, wrong, self._keys)
        self._tell_of_lost(loaded.symbols, "", "a cache")
        symbols = [symbol for symbol in map(_symbol, found[::3]) if symbol is not None]
        for each in self._longer:
            self._add_longer(shard, each, symbols, loaded)
        return loaded

    def _add_longer(
        self, shard: int, longer: Settings, symbols: Sequence[str], loaded: Loaded
    ) -> None:
        """The windows of a longer interval, also of symbols of which there is nothing else: they
        were retired while the interval was not in the settings, or somebody has deleted the rest.
        """
        names = [symbol.encode() for symbol in symbols if symbol not in loaded.damaged]
        if not names:
            return
        interval, keys = longer.candle_interval, longer.keys
        found, wrong = self._scripts.load(*self._question(shard, names, keys))
        own = self._checked(shard, found, wrong, keys)
        filled_from = "the shorter window" + " or a cache" * bool(longer.backfill_patterns)
        self._tell_of_lost(own.symbols, f" of {interval}", filled_from)
        for symbol, memory in own.symbols.items():
            if not longer.backfill_patterns:
                # No cache fills it: it begins again with what the shorter window has.
                memory.lacks_closes = False
            shorter = Memory(Window(self._window_size), lacks_closes=True)
            loaded.symbols.setdefault(symbol, shorter).longer[interval] = memory
        for symbol, damaged in own.damaged.items():
            loaded.symbols.pop(symbol, None)
            loaded.damaged[symbol] = damaged

    def _checked(self, shard: int, found: list[Any], wrong: list[Any], keys: Keys) -> Loaded:
        wrong_types = {name: (key, holds) for name, key, holds in _in_threes(wrong)}
        loaded = Loaded()
        for name, mark, packed in _in_threes(found):
            symbol = _symbol(name)
            if symbol is None:
                if mark is not None:
                    nickname, damaged = self._not_a_symbol(shard, name)
                    loaded.damaged[nickname] = damaged
            elif name in wrong_types:
                loaded.damaged[symbol] = Damaged(name, wrong_type_text(*wrong_types[name]))
            elif mark is not None or packed:
                memory = self._memory(shard, symbol, mark, packed, keys)
                if isinstance(memory, Damaged):
                    loaded.damaged[symbol] = memory
                else:
                    loaded.symbols[symbol] = memory
        return loaded

    def _memory(
        self, shard: int, symbol: str, text: bytes | None, packed: bytes, keys: Keys
    ) -> Memory | Damaged:
        mark = Mark()
        try:
            if text is not None:
                mark = parse_mark(text)
        except ValueError as error:
            repair = f"remove it: HDEL {keys.marks(shard)} {symbol}"
            return Damaged(symbol.encode(), f"its mark is damaged: {error}; {repair}")
        try:
            times_ms, closes = window_codec.unpack(packed)
        except ValueError as error:
            repair = f"delete it, and it fills again: DEL {keys.window(symbol)}"
            return Damaged(symbol.encode(), f"its window is damaged: {error}; {repair}")
        window = Window(self._window_size)
        window.extend(times_ms, closes)
        return Memory(window, mark, self._lacks_closes(times_ms, mark))

    def _lacks_closes(self, times_ms: NDArray[np.int64], mark: Mark) -> bool:
        """Whether it was longer when a state was published from it, or is still too short for one:
        a cache may have the rest.

        If all of it was lost and it has started over since, that was reported before.
        """
        if times_ms.size == 0:
            return True
        started_over = 0 < mark.close_time_ms < times_ms[0]
        return len(times_ms) < self._needed and not started_over

    def _not_a_symbol(self, shard: int, name: bytes) -> tuple[str, Damaged]:
        """Under a name that no symbol can have: it contains a space."""
        reason = (
            f"{self._keys.marks(shard)} has the field {name[:80]!r}, which cannot be a symbol; "
            "remove it (HDEL)"
        )
        return f"{shard_name(shard)} {name[:80]!r}", Damaged(name, reason)

    def _tell_of_lost(
        self, symbols: Mapping[str, Memory], of_interval: str, filled_from: str
    ) -> None:
        lost = [symbol for symbol, memory in symbols.items() if memory.lost_its_window]
        if lost:
            log.warning(
                "the windows%s of %d symbols are gone or too short, although states were published "
                "from them: %s%s; where %s has closes, they are filled from it (did they "
                "expire, or did somebody delete them? see `marketstate check`)",
                of_interval,
                len(lost),
                ", ".join(lost[:NAMED_IN_LOG]),
                ", ..." if len(lost) > NAMED_IN_LOG else "",
                filled_from,
            )


def wrong_type_text(key: bytes, holds: bytes) -> str:
    """What is wrong with a key of a symbol, and how to repair it."""
    return f"{key.decode()} holds a {holds.decode()}; rename or delete it"


def _symbol(name: bytes) -> str | None:
    try:
        symbol = name.decode()
        check_symbol(symbol)
    except (UnicodeDecodeError, CandleRejected):
        return None
    return symbol


def _in_threes(flat: Sequence[Any]) -> Iterator[tuple[Any, Any, Any]]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)
