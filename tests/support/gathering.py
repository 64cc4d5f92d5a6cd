"""A gatherer in this process, one batch at a time, and what it has gathered."""

from collections import Counter
from itertools import count
from typing import Any

import msgspec
import redis

from marketstate.schemas.candle import Candle, decode_candle
from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.commands.gather.reading import ENTRIES_AT_ONCE
from marketstate.worker.commands.gather.session import Plan, Session
from marketstate.worker.commands.gather.sources import Sources
from marketstate.worker.keys import GatherKeys
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from marketstate.worker.stop import Stop
from tests.support.worker_process import INPUT

GROUP = "marketstate-gather"
_NUMBERS = count()
PLAN = Plan(
    target=INPUT,
    updates=False,
    max_silence_s=None,
    exchange=None,
    max_length=100_000,
    max_backlog=10_000,
)


class SteppedGatherer:
    def __init__(
        self,
        server: EmbeddedRedis,
        *names: str,
        start: str = "0",
        settings: dict[str, str] | None = None,
        **plan: Any,
    ) -> None:
        self._settings = settings_from(
            {"MARKETSTATE_REDIS_PORT": str(server.port)} | (settings or {})
        )
        self._plan = PLAN._replace(**plan)
        self.sources = Sources(list(names), GROUP, start)
        self.counts: Counter[str] = Counter()
        self.begin()

    def begin(self) -> None:
        """A new session, as after a lost connection."""
        self.session = Session(self._settings, self._plan, self.sources, self.counts)

    def read_and_drop(self) -> int:
        """Take a batch, and crash before anything comes of it; returns its size."""
        return len(self.session.read())

    def work(self) -> None:
        """Until nothing is left to read."""
        stop = Stop()
        stop.requested = True  # so that no wait takes any time
        self.sources.look_soon()
        while True:
            before = self.positions()
            self.session.work(stop)
            if self.positions() == before and self.sources.all_pending_is_read:
                return

    def positions(self) -> Any:
        return {name: position.read_from for name, position in self.sources.streams.items()}


def gathered(client: redis.Redis, stream: str = INPUT) -> list[Candle]:
    """The candles in the stream that was appended to."""
    entries: Any = client.xrange(stream)
    return [decode_candle(fields, entry_time_ms(entry_id)) for entry_id, fields in entries]


def counted(client: redis.Redis) -> dict[str, int]:
    found: Any = client.hgetall(GatherKeys(GROUP).counters)
    return {name.decode(): int(value) for name, value in found.items()}


def pending(client: redis.Redis, stream: str) -> list[str]:
    rows: Any = client.xpending_range(stream, GROUP, "-", "+", ENTRIES_AT_ONCE)
    return [row["message_id"].decode() for row in rows]


def add(client: redis.Redis, stream: str, fields: Any, entry_id: str = "*") -> Any:
    return client.xadd(stream, fields, id=entry_id)


def id_at(ms: float) -> str:
    """Of an entry that is written then, after those of earlier calls for this millisecond."""
    return f"{int(ms)}-{next(_NUMBERS)}"


def raw_update(one: Candle, exchange: str = "binance") -> dict[str, str]:
    """As the bridge of the upstream system writes it: `timestamp` is when the candle opened."""
    assert one.open_time is not None
    return {
        "exchange": exchange,
        "symbol": one.symbol,
        "timestamp": str(one.open_time // 1_000),
        **{name: str(getattr(one, name)) for name in ("open", "high", "low", "close", "volume")},
    }


def updates_of(one: Candle, at_s: tuple[float, ...] = (5.0, 30.0, 60.2)) -> list[tuple[str, Any]]:
    """Ids and fields of updates of a candle, so many seconds after it opened. The last has its
    close.
    """
    assert one.open_time is not None
    found = []
    for number, s in enumerate(at_s):
        close = one.close if number == len(at_s) - 1 else one.close * (1.01 + number / 100)
        update = raw_update(msgspec.structs.replace(one, close=close))
        found.append((id_at(one.open_time + s * 1_000), update))
    return found
