"""Connections of `marketstate serve` end when their clients do not do their part."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn

from marketstate.worker.commands.serve import connection
from marketstate.worker.commands.serve.connection import BoundedConnection
from tests.support.processes import PATIENCE_S

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SOON_S = 0.2


async def _endless(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1_000):
        await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})


async def _short(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def on_server(
    app: Any, test: Callable[[tuple[str, int], uvicorn.Server], Coroutine[Any, Any, None]]
) -> None:
    """Run `test` with the address of a server that serves `app`."""

    async def run() -> None:
        settings = uvicorn.Config(
            app, http=BoundedConnection, lifespan="off", ws="none", port=0, log_level="critical"
        )
        settings.load()
        server = uvicorn.Server(settings)
        server.lifespan = settings.lifespan_class(settings)
        listener = socket.create_server(("127.0.0.1", 0))
        await server.startup([listener])
        try:
            async with asyncio.timeout(PATIENCE_S):
                await test(listener.getsockname(), server)
        finally:
            await server.shutdown([listener])

    asyncio.run(run())


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    got = b""
    try:
        while more := await reader.read(65_536):
            got += more
    except ConnectionResetError:
        pass
    return got


@pytest.mark.parametrize("sent", [b"", b"G", REQUEST[:-1], REQUEST, REQUEST + b"GET /"])
def test_who_does_not_send_a_whole_request_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "REQUEST_TIMEOUT_S", SOON_S)

    async def test(address: tuple[str, int], _server: uvicorn.Server) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        got = await until_closed(reader)
        assert got.count(b"HTTP/1.1 200") == (1 if REQUEST in sent else 0)
        writer.close()

    on_server(_short, test)


def test_no_deadline_runs_while_a_request_is_answered() -> None:
    deadlines = list[bool]()

    async def test(address: tuple[str, int], server: uvicorn.Server) -> None:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            (one,) = server.server_state.connections
            assert isinstance(one, BoundedConnection)
            deadlines.append(one.has_deadline)
            await _short(scope, receive, send)
            deadlines.append(one.has_deadline)

        server.config.loaded_app = answer
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()

    on_server(_short, test)
    assert deadlines == [False, True] * 2


def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALLED_S", SOON_S)

    async def test(address: tuple[str, int], server: uvicorn.Server) -> None:
        with socket.create_connection(address) as idle:
            idle.sendall(REQUEST)
            while not server.server_state.connections:
                await asyncio.sleep(0)
            while server.server_state.connections:
                await asyncio.sleep(SOON_S / 5)

    on_server(_endless, test)


def test_more_connections_than_are_kept_are_closed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 2)

    async def test(address: tuple[str, int], server: uvicorn.Server) -> None:
        kept = [await asyncio.open_connection(*address) for _ in range(2)]
        while len(server.server_state.connections) < 2:
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(*address)
        assert await until_closed(reader) == b""
        writer.close()
        for reader, writer in kept:
            writer.write(REQUEST)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()

    on_server(_short, test)
