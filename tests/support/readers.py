"""The readers of `schemas`, run in threads of their own: the plain one and the one of asyncio."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final, Self

import redis
from redis import asyncio as aio

from marketstate.schemas.aio import StateReader as AioStateReader
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.schemas.reader import StateReader
from tests.support.processes import PATIENCE_S
from tests.support.worker_process import wait_until

KINDS: Final = ("plain", "asyncio")


class RunningReader:
    """A context manager: stops the reader at its end, and raises what it has raised."""

    def __init__(
        self,
        kind: str,
        open_client: Callable[[Any], Any],
        body: Callable[[MarketStateRecord], None] | None = None,
        **options: Any,
    ) -> None:
        """`open_client` is called with the module, `redis` or `redis.asyncio`."""
        self.found: list[MarketStateRecord] = []
        self.reader: StateReader | AioStateReader
        self._open_client, self._body, self._options = open_client, body, options
        self._error: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(kind,))

    def wait_until_found(self, count: int) -> None:
        wait_until(lambda: len(self.found) >= count or self._error, f"it has read {count}")

    def wait_for(self, symbol: str, number: int) -> None:
        def is_read() -> bool:
            return number in self.numbers_of(symbol) or self._error is not None

        wait_until(is_read, f"state {number} of {symbol} is read")

    def numbers_of(self, symbol: str) -> list[int]:
        return [record.buffer_size for record in self.found if record.symbol == symbol]

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the reader does not stop"
        if self._error is not None:
            raise self._error

    def _run(self, kind: str) -> None:
        try:
            if kind == "asyncio":
                asyncio.run(self._read_asynchronously())
            else:
                self._read()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def _read(self) -> None:
        with self._open_client(redis) as client:
            self.reader = StateReader(client, **self._options)
            self._ready.set()
            for record in self.reader:
                self._take(record)

    async def _read_asynchronously(self) -> None:
        async with self._open_client(aio) as client:
            self.reader = AioStateReader(client, **self._options)
            self._ready.set()
            async for record in self.reader:
                self._take(record)

    def _take(self, record: MarketStateRecord) -> None:
        if self._body is not None:
            self._body(record)
        self.found.append(record)
