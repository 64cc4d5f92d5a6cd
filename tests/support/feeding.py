"""A pipeline without Redis: entries to feed it, and a simple twin of the data in Redis."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from marketstate.core.theta import merged_theta
from marketstate.core.window import Window
from marketstate.schemas.candle import Candle, encode_envelope
from marketstate.schemas.longer import TimedClose
from marketstate.schemas.market_state import encode_record
from marketstate.worker.engine import window_codec
from marketstate.worker.engine.changes import Changes, Entry, History, Memory
from marketstate.worker.engine.mark import parse_mark
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.keys import shard_of
from marketstate.worker.settings import Settings

MINUTE_MS: Final = 60_000
# A close time; candles close one millisecond before the full minute.
T0: Final = 1_700_000_040_000 - 1
# Windows so short that a few candles fill them.
SMALL_THETA: Final = merged_theta(
    {
        "vol": {"window": 8},
        "trend": {"windows": [4, 8], "weights": [0.5, 0.5]},
        "regime": {"window": 8, "vr_k": 2},
    }
)
NEEDED: Final = 9
BTC: Final = "BTCUSDT"


def small_settings(**changes: Any) -> Settings:
    small: dict[str, Any] = {"theta": SMALL_THETA, "window_size": 12, "shards": 4}
    return Settings(**(small | changes))


def candle_entry(
    number: int, symbol: str, close_time: int, close: float = 100.0, **changes: Any
) -> Entry:
    """The entry `number`-0 with a candle, on its symbol's shard of four."""
    candle = Candle(
        symbol=symbol, close_time=close_time, close=close, **({"interval": "1m"} | changes)
    )
    fields = {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in encode_envelope(candle, source="test").items()
    }
    return Entry(shard_of(symbol, 4), b"%d-0" % number, fields)


def series(n: int, first: int = 0, symbol: str = BTC) -> list[Entry]:
    """`n` candles, a minute apart, in entries numbered from `first` + 1."""
    return [
        candle_entry(i + 1, symbol, T0 + i * MINUTE_MS, close)
        for i, close in enumerate(closes(n, first), start=first)
    ]


def closes(n: int, first: int = 0) -> list[float]:
    return [100.0 + i % 7 + i / 16 for i in range(first, first + n)]


class Twin:
    """What commits leave in Redis, and the memory of a worker that follows them."""

    def __init__(self, settings: Settings, histories: Mapping[str, History] | None = None) -> None:
        self.settings = settings
        self._histories = histories or {}
        # By interval, which is empty for the candle interval.
        self._windows: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._marks: dict[tuple[str, int, str], bytes] = {}
        self._memory: dict[tuple[int, str], Memory] = {}
        self.records: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.counters: Counter[str] = Counter()

    def memory(self, shard: int, symbol: str) -> Memory | None:
        return self._memory.get((shard, symbol))

    def advance(self, pipeline: Pipeline, entries: list[Entry]) -> Changes:
        return pipeline.advance(pipeline.read(entries), self.memory, self.older)

    def older(self, symbol: str, interval: str, _closes: Sequence[TimedClose]) -> History:
        is_ours = interval == self.settings.candle_interval
        return self._histories.get(symbol, ((), ())) if is_ours else ((), ())

    def commit(self, changes: Changes) -> None:
        """Change the twin of Redis as `commit.lua` does."""
        for interval, of_interval in {"": changes.symbols, **changes.longer}.items():
            for symbol, change in of_interval.items():
                window = self._windows[interval, symbol]
                if change.starts_over:
                    window.clear()
                window += window_codec.pack(zip(change.close_times_ms, change.closes, strict=True))
                del window[: -self.settings.window_size]
                mark = change.mark.text(short=not self.settings.marks_are_long)
                self._marks[interval, change.shard, symbol] = mark.encode()
        for record in changes.records:
            self.records[record.interval, record.symbol].append(encode_record(record))
        self.counters += changes.counters

    def move(self, changes: Changes) -> None:
        """Change the memory as `Shards.move` does."""
        for symbol, change in changes.symbols.items():
            change.before.extend(change.close_times_ms, change.closes)
            self._memory[change.shard, symbol] = Memory(
                change.before, change.mark, longer=change.longer
            )
        for interval, of_interval in changes.longer.items():
            for symbol, change in of_interval.items():
                change.before.extend(change.close_times_ms, change.closes)
                memory = Memory(change.before, change.mark)
                self._memory[change.shard, symbol].longer[interval] = memory

    @property
    def windows(self) -> dict[tuple[str, str], list[bytes]]:
        return {key: list(window) for key, window in self._windows.items() if window}

    def window_of(self, interval: str, symbol: str) -> list[tuple[int, float]]:
        times_ms, closes = window_codec.unpack(b"".join(self._windows[interval, symbol]))
        return list(zip(times_ms.tolist(), closes.tolist(), strict=True))

    def lose(self, interval: str, symbol: str) -> None:
        """Somebody deletes the window; then another worker takes over."""
        self._windows[interval, symbol].clear()
        self.crash()

    def crash(self) -> None:
        """Forget everything, and load from the twin of Redis as `Shards` does."""
        self._memory = {}
        for (interval, shard, symbol), mark in self._marks.items():
            window = Window(self.settings.window_size)
            window.extend(*window_codec.unpack(b"".join(self._windows[interval, symbol])))
            memory = Memory(window, parse_mark(mark))
            if interval:
                self._memory[shard, symbol].longer[interval] = memory
            else:
                self._memory[shard, symbol] = memory


def fed(
    *batches: list[Entry],
    settings: Settings | None = None,
    warm_until: tuple[int, int] = (0, 0),
    histories: Mapping[str, History] | None = None,
) -> Changes:
    """The changes of the last batch; earlier batches are committed."""
    settings = settings or small_settings()
    pipeline, twin = Pipeline(settings, warm_until), Twin(settings, histories)
    for batch in batches[:-1]:
        changes = twin.advance(pipeline, batch)
        twin.commit(changes)
        twin.move(changes)
    return twin.advance(pipeline, batches[-1])
