"""Runs the reader and uvicorn until a signal, and tells the service manager how they are."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

import uvicorn

from marketstate.worker.commands.limits import Limits
from marketstate.worker.commands.serve.app import Site
from marketstate.worker.commands.serve.connection import MOST_BYTES_OF_REQUEST, BoundedConnection
from marketstate.worker.commands.serve.guard import Guard
from marketstate.worker.commands.serve.listening import Address
from marketstate.worker.commands.serve.reader import HEALTHY, Reader
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.log import log, repeats
from marketstate.worker.settings import Settings

# Between two looks at the reader. A page hears of us at least that often.
_LOOK_S: Final = 4.0
# While Redis is away, the reader comes around every 15 s.
_HANGS_S: Final = 60.0
_ENDS_WITHIN_S: Final = 5


async def serve(
    settings: Settings,
    listener: socket.socket,
    hosts: Collection[str],
    limits: Limits,
    notifier: SystemdNotifier,
    *,
    per_symbol: bool,
) -> None:
    """Until SIGTERM or SIGINT. Redis may be away at any time, also at the start."""
    loop = asyncio.get_running_loop()
    site = Site(settings)
    reader = Reader(
        settings,
        limits,
        lambda news: loop.call_soon_threadsafe(site.take, news),  # type: ignore[arg-type]
        per_symbol=per_symbol,
    )
    server = _Server(_configuration(Guard(site.routes(), hosts)))

    def stop() -> None:
        notifier.stopping("ending")
        server.should_exit = True
        site.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.info("Initialized with %s", settings.described())
    reader.start()
    looking = asyncio.create_task(_look_after(site, reader, server, notifier))
    try:
        log.info("serving at %s", _address_of(listener))
        await server.serve([listener])
    finally:
        reader.stop()
        looking.cancel()
    if reader.failure is not None:
        raise reader.failure


async def _look_after(
    site: Site, reader: Reader, server: "_Server", notifier: SystemdNotifier
) -> None:
    while reader.failure is None:
        if site.has_read and server.started:
            notifier.ready()
        if time.monotonic() - reader.turned_s < _HANGS_S:
            notifier.beat(lambda: f"pages {len(site.pages)}, {site.failing or HEALTHY}")
        repeats.tell()
        site.say_again()
        await asyncio.sleep(min(_LOOK_S, notifier.longest_wait_s) if site.has_read else 0.1)
    server.should_exit = True
    site.stop()


def _configuration(app: Guard) -> uvicorn.Config:
    for name in ("uvicorn.error", "uvicorn.access"):
        of_uvicorn = logging.getLogger(name)
        of_uvicorn.handlers, of_uvicorn.filters = log.handlers, log.filters
        of_uvicorn.propagate = False
        # Its warnings are about what clients send: anyone who can reach us could fill the log.
        of_uvicorn.setLevel(logging.ERROR)
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_ENDS_WITHIN_S,
        h11_max_incomplete_event_size=MOST_BYTES_OF_REQUEST,
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: uvicorn would end by the signal, after it has stopped well."""
        yield


def _address_of(listener: socket.socket) -> str:
    name = listener.getsockname()
    if isinstance(name, str):
        return name
    return f"http://{Address(ip_address(name[0]), name[1])}/"
