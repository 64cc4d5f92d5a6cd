"""A group with an upstream, and its metrics on a port: all of it real, and short-lived."""

import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import redis
from msgspec.structs import replace
from prometheus_client import start_http_server
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from marketstate.schemas.candle import encode_envelope
from marketstate.worker.commands.metrics.families import families
from marketstate.worker.commands.metrics.reading import read
from marketstate.worker.engine.all_partitions import AllPartitions
from marketstate.worker.engine.synthetic import SYMBOLS, synthetic_candle
from marketstate.worker.local.redis_server import EmbeddedRedis, free_port
from marketstate.worker.settings import Settings, settings_from
from tests.support.worker_process import WorkerProcess, feed, feed_fields

# A candle and a state each second, so that what is late is late soon.
TIMING: Final = {
    "candle_interval": "1s",
    "intervals": "1s,2s",
    "publish_interval": 1,
    "lease_seconds": 1,
}
# Enough for the windows of both intervals.
CLOSES_BEFORE: Final = 600
MANY: Final = 3_000
SECOND_MS: Final = 1_000


class Upstream:
    """A candle of each symbol per second, while it is `open`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._ended = threading.Event()
        self._last_s = int(time.time()) - CLOSES_BEFORE
        self.open = True
        self._write_due()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.1):
            if self.open:
                try:
                    self._write_due()
                except redis.RedisError:
                    continue  # it is away, as the test wants it

    def _write_due(self) -> None:
        now_s = int(time.time())
        ends = range(self._last_s + 1, now_s + 1)
        feed(self._client, [_candle(name, end) for end in ends for name in SYMBOLS])
        self._last_s = now_s


def _candle(name: str, end_s: int) -> Any:
    return synthetic_candle(name, end_s * SECOND_MS - 1, "1s", SECOND_MS)


class Exporter:
    """The metrics of each moment as an HTTP server of prometheus_client gives them, with what
    `verify` has written.
    """

    def __init__(self, settings: Settings, verified: Path) -> None:
        self._settings = settings
        self._every = AllPartitions(settings)
        self._verified = verified
        self.port = free_port()
        self._server: Any = None

    def collect(self) -> Iterable[Metric]:
        yield from families(read(self._every, self._settings, per_symbol=True)).collect()
        if self._verified.exists():
            yield from text_string_to_metric_families(self._verified.read_text())

    def start(self) -> None:
        self._server, _ = start_http_server(self.port, "127.0.0.1", self)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Stage:
    def __init__(self, server: EmbeddedRedis, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.client = server.client()
        self.verified = folder / "verify.prom"
        given = {"redis_port": server.port} | TIMING
        settings = settings_from(
            {f"MARKETSTATE_{name.upper()}": str(value) for name, value in given.items()}
        )
        self.exporter = Exporter(settings, self.verified)
        self.exporter.start()
        self.upstream = Upstream(self.client)
        self.worker = self.start_worker()

    def start_worker(self, **settings: object) -> WorkerProcess:
        self.worker = WorkerProcess(self.server.port, self.folder, **TIMING | settings)
        return self.worker

    def verify(self) -> int:
        words = ("verify", "--textfile", str(self.verified))
        # Machines that test are busy: only what this test breaks may fail.
        patient = ("--max-age", "inf", "--max-state-age", "inf")
        with WorkerProcess(self.server.port, self.folder, *words, *patient, **TIMING) as process:
            return process.exit_code()

    def add_bad_entries(self) -> None:
        feed_fields(self.client, [{"symbol": "BTCUSDT", "close": "none"}] * 3)

    def add_many_entries(self) -> None:
        """Of another interval, so that they are ignored."""
        other = encode_envelope(
            replace(_candle("OTHER", int(time.time())), interval="7m"), source="test"
        )
        feed_fields(self.client, [other] * MANY)

    def end(self) -> None:
        self.upstream.end()
        self.worker.kill()
        self.exporter.stop()
