"""The addresses that are served, and what each of them answers."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from marketstate.worker.commands.markets import Market
from marketstate.worker.commands.metrics.families import text
from marketstate.worker.commands.metrics.reading import Reading
from marketstate.worker.commands.plot.document import drawn
from marketstate.worker.commands.plot.series import of_records
from marketstate.worker.commands.serve.board import Board
from marketstate.worker.commands.serve.document import GroupDocument
from marketstate.worker.commands.serve.page_files import INDEX, page_files
from marketstate.worker.commands.serve.reader import HEALTHY, News, states_kept
from marketstate.worker.settings import Settings

MOST_PAGES: Final = 32
# A client that does not read has no more than a few of these in its buffers.
_PIECE: Final = 65_536
# Longer than the reader waits for a Redis that hangs.
_SILENT_S: Final = 30.0
_SERIES_AT_ONCE: Final = 2


class Site:
    """Used in the thread of the event loop only."""

    def __init__(self, settings: Settings) -> None:
        self._interval = settings.candle_interval
        kept = states_kept(settings)
        self.boards = {
            each.candle_interval: Board(each, list(kept), kept[each.candle_interval])
            for each in settings.each_interval
        }
        self.group = GroupDocument()
        self.pages = set[EventStream]()
        self.is_stopping = False
        self._files = page_files()
        self._reading: Reading | None = None
        self._scrape = b""
        self._read_s = 0.0
        self._series = asyncio.Semaphore(_SERIES_AT_ONCE)

    def routes(self) -> Starlette:
        app = Starlette(
            routes=[
                Route("/", self.page),
                Route("/assets/{name}", self.asset),
                Route("/healthz", self.healthz),
                Route("/metrics", self.metrics),
                Route("/states.json", self.states),
                Route("/states/{symbol:path}.json", self.series),
                Route("/events", self.events),
            ]
        )
        app.router.redirect_slashes = False
        return app

    def take(self, news: News) -> None:
        for name, board in self.boards.items():
            board.take(news.followed.get(name), news.groups.get(name))
        self.group = news.groups.get(self._interval, self.group)
        if news.reading is not None:
            self._reading, self._scrape = news.reading, b""
            self._read_s = time.monotonic()

    @property
    def has_read(self) -> bool:
        """Or has tried to."""
        return self._reading is not None

    def stop(self) -> None:
        """The streams end."""
        self.is_stopping = True
        self.say_again()

    def say_again(self) -> None:
        """To every page, that we are there."""
        for board in self.boards.values():
            board.say_again()

    async def page(self, request: Request) -> Response:
        return self._file(INDEX, request)

    async def asset(self, request: Request) -> Response:
        return self._file(request.path_params["name"], request)

    async def healthz(self, _request: Request) -> Response:
        line = self.failing
        return PlainTextResponse(f"{line or HEALTHY}\n", 503 if line else 200)

    @property
    def failing(self) -> str:
        """Empty if all is well."""
        silent_s = time.monotonic() - self._read_s
        if self.has_read and silent_s > _SILENT_S:
            return f"Redis was not read for {silent_s:.0f} s"
        return "" if self.group.healthy else self.group.health

    async def metrics(self, _request: Request) -> Response:
        if self._reading is None:
            return PlainTextResponse(f"{self.group.health}\n", 503)
        self._scrape = self._scrape or text(self._reading)
        return Response(self._scrape, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    async def states(self, request: Request) -> Response:
        board = self._board(request)
        return self._no_interval() if board is None else _json(board.everything())

    async def series(self, request: Request) -> Response:
        board = self._board(request)
        if board is None:
            return self._no_interval()
        market = board.market(request.path_params["symbol"])
        if market is None:
            return PlainTextResponse("no states of this symbol\n", 404)
        async with self._series:
            return _json(await asyncio.to_thread(_series, market, board.kept))

    async def events(self, request: Request) -> Response:
        board = self._board(request)
        if board is None:
            return self._no_interval()
        if len(self.pages) >= MOST_PAGES:
            return PlainTextResponse("too many pages are open\n", 503, {"retry-after": "30"})
        if request.method == "HEAD":
            return Response(headers={"content-type": EventStream.media_type})
        return EventStream(self, board, request.headers.get("last-event-id", ""))

    def _board(self, request: Request) -> Board | None:
        """Of the interval that is asked for; None if its states are not published."""
        return self.boards.get(request.query_params.get("interval", self._interval))

    def _no_interval(self) -> Response:
        return PlainTextResponse(f"no such interval; there are {', '.join(self.boards)}\n", 404)

    def _file(self, name: str, request: Request) -> Response:
        file = self._files.get(name)
        if file is None:
            return PlainTextResponse("there is no such page\n", 404)
        headers = {"cache-control": "no-cache", "etag": file.etag}
        if request.headers.get("if-none-match") == file.etag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers | {"content-type": file.content_type})


class EventStream(StreamingResponse):
    """Server-sent events, until the page is closed or we stop."""

    media_type = "text/event-stream"

    def __init__(self, site: Site, board: Board, last_id: str) -> None:
        self._site = site
        self._board = board
        # nginx would collect them otherwise.
        super().__init__(self._events(last_id), headers={"x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._site.pages.add(self)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._site.pages.discard(self)

    async def _events(self, last_id: str) -> AsyncIterator[memoryview]:
        board = self._board
        while not self._site.is_stopping:
            events = board.events(last_id)
            last_id = board.event_id
            for piece in _pieces(events):
                yield piece
            if last_id == board.event_id and not self._site.is_stopping:
                await board.news()


def _json(document: bytes) -> Response:
    async def pieces() -> AsyncIterator[memoryview]:
        for piece in _pieces(document):
            yield piece

    headers = {"content-length": str(len(document)), "content-type": "application/json"}
    return StreamingResponse(pieces(), headers=headers)


def _pieces(content: bytes) -> list[memoryview]:
    whole = memoryview(content)
    return [whole[start : start + _PIECE] for start in range(0, len(content), _PIECE)]


def _series(market: Market, kept: int) -> bytes:
    (series,) = of_records(market.recent, None).values()
    document = {
        "symbol": series.symbol,
        "interval": series.interval,
        "described": series.described(),
        "remarks": list(series.remarks()),
        "kept": kept,
    }
    return msgspec.json.encode(document | drawn(series))
