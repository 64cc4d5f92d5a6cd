"""What the tests of the page share: a browser, a Redis, a server, and markets to show."""

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from msgspec.structs import asdict, replace

from marketstate.schemas.longer import interval_stream
from marketstate.schemas.market_state import MarketStateRecord, encode_record, stream_fields
from marketstate.schemas.reader import OUTPUT_STREAM
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.page.browser import Browser
from tests.support.page_server import PageServer
from tests.support.records import make_record, publish

MINUTE_MS: Final = 60_000
EVIL: Final = "<script>alert(1)</script>"
FEW: Final = ("BTCUSDT", "ETHUSDT", EVIL)
# No state is stale for a while: machines that test are slow.
UNHURRIED: Final[Any] = {"publish_interval": 3_600}
INTERVALS: Final = "1m,5m,1h"
# Nothing here has a group, and no test but one is about health.
HEALTHY: Final = ("--max-age", "inf", "--max-lag", "inf")


class Stage:
    """A Redis with published states, and the page of it."""

    def __init__(
        self, server: EmbeddedRedis, folder: Path, symbols: Sequence[str], **settings: object
    ) -> None:
        self._settings = UNHURRIED | settings
        self.server = server
        self.symbols = symbols
        self.client: redis.Redis = server.client()
        self.last_ms = int(time.time() * 1_000) // MINUTE_MS * MINUTE_MS - 1
        self.count = 64 if len(symbols) <= 200 else 4
        self._publish([self.record(symbol, i) for i in range(self.count) for symbol in symbols])
        self.serve(folder)

    def serve(self, folder: Path, port: int = 0) -> None:
        """0 is any port that is free."""
        where = ("--listen", f"127.0.0.1:{port}")
        self.page = PageServer(self.server.port, folder, *where, *HEALTHY, **self._settings)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.page.port}/"

    def record(self, symbol: str, number: int) -> MarketStateRecord:
        """The `number`th of a symbol: all are different, and every regime has its turn."""
        place = self.symbols.index(symbol)
        made = make_record(
            symbol,
            number,
            REGIMES[(place + number // 7) % 3],
            close=round(100 + place + number % 7 / 8, 3),
            sigma=0.0001 * (1 + (place * 7 + number) % 50),
            ts=0.01 * ((place * 13 + number) % 90),
        )
        time_ms = self.last_ms - (self.count - 1 - number) * MINUTE_MS
        return replace(made, close_time_ms=time_ms)

    def close(self, symbols: Sequence[str], **other: object) -> list[MarketStateRecord]:
        """One more state of these symbols."""
        made = [replace(self.record(symbol, self.count), **other) for symbol in symbols]
        self.count += 1
        self.last_ms += MINUTE_MS
        self._publish(made)
        return made

    def of_longer(self, interval: str, number: int) -> MarketStateRecord:
        """The `number`th of a longer interval; only the first symbol has any."""
        made = replace(self.record(self.symbols[0], number), interval=interval)
        return replace(made, ts=made.ts + 1, regime="trend")

    def publish_longer(self, interval: str, numbers: Iterable[int]) -> None:
        with self.client.pipeline(transaction=False) as writes:
            for number in numbers:
                record = self.of_longer(interval, number)
                fields: Any = asdict(stream_fields(record, encode_record(record)))
                writes.xadd(interval_stream(OUTPUT_STREAM, interval), fields)
            writes.execute()

    def _publish(self, records: Sequence[MarketStateRecord]) -> None:
        with self.client.pipeline(transaction=False) as writes:
            publish(writes, records)
            writes.execute()

    def end(self) -> None:
        self.page.terminate()
        self.client.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def stage(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Stage]:
    """Of few markets, or as many as a test says with `@of(N)`; open in the browser."""
    symbols = many(getattr(request, "param", 3))
    with EmbeddedRedis() as server:
        stage = Stage(server, tmp_path, symbols)
        browser.look()
        browser.open(stage.address, len(symbols))
        yield stage
        stage.end()
    assert browser.complaints() == []


@pytest.fixture
def several(browser: Browser, tmp_path: Path) -> Iterator[Stage]:
    """Of longer intervals, too: the first symbol has states of 5m, and none has any of 1h."""
    with EmbeddedRedis() as server:
        stage = Stage(server, tmp_path, FEW, intervals=INTERVALS)
        stage.publish_longer("5m", range(30))
        browser.look()
        browser.open(stage.address, len(FEW))
        yield stage
        stage.end()
    assert browser.complaints() == []


def many(count: int) -> tuple[str, ...]:
    further = (f"COIN{number:03d}USDT" for number in range(count - len(FEW)))
    return (*FEW, *further)


def of(*counts: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("stage", counts, indirect=True)
