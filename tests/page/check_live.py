"""The page while things happen: closes arrive, and Redis, the server or the workers go away."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from marketstate.schemas.candle import Candle
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.page.browser import Browser
from tests.page.fixtures import MINUTE_MS, Stage, of
from tests.support.candles import closing_now, made_candles
from tests.support.page_server import PageServer
from tests.support.worker_process import (
    WorkerProcess,
    expire_leases,
    feed,
    wait_until,
    wait_until_finished,
)

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
EACH: Final[Any] = {"publish_interval": 1}


def candles_until_now(count: int) -> list[Candle]:
    """Of each symbol; the last closed a minute ago."""
    return closing_now(made_candles(SYMBOLS, count), MINUTE_MS)


def plotted(browser: Browser) -> int:
    """How many states the plots of the open market have."""
    return int(browser.run("return document.querySelector('canvas')?.ariaValueMax ?? -1")) + 1


def warned(browser: Browser) -> list[str]:
    return browser.texts("#warnings strong")


def until_warned(browser: Browser, *titles: str) -> None:
    wait_until(lambda: warned(browser) == list(titles), f"it says {titles}")


def test_a_close_that_is_fed_to_a_worker_is_on_the_page_and_in_its_plots(
    browser: Browser, tmp_path: Path
) -> None:
    candles = candles_until_now(302)
    with EmbeddedRedis() as server, server.client() as client:
        settings = EACH | {"start": "replay"}
        with (
            WorkerProcess(server.port, tmp_path, **settings) as worker,
            PageServer(server.port, tmp_path, **settings) as page,
        ):
            worker.wait_for_log("holding 16 of 16 shards")
            feed(client, candles[:-6])
            wait_until_finished(client, len(candles) - 6)
            browser.look()
            browser.open(f"http://127.0.0.1:{page.port}/#market=ETHUSDT", len(SYMBOLS))
            wait_until(lambda: plotted(browser) == 44, "all states are plotted")
            for closing in (candles[-6:-3], candles[-3:]):
                before_s = time.monotonic()
                feed(client, closing)
                until_closes(browser, closing)
                print(f"on the page after {time.monotonic() - before_s:.2f} s")
            wait_until(lambda: plotted(browser) == 46, "they are in the plots")
            assert float(browser.text("#market .price")) == candles[-2].close
            # The worker's death is seen, and its successor.
            assert "NOBODY WORKS" not in warned(browser)
            worker.kill()
            expire_leases(client)
            until(lambda: "NOBODY WORKS" in warned(browser))
            with WorkerProcess(server.port, tmp_path, **settings):
                until(lambda: "NOBODY WORKS" not in warned(browser))
    assert browser.complaints() == []


def until_closes(browser: Browser, candles: list[Candle]) -> None:
    closes = {one.symbol: one.close for one in candles}

    def are_shown() -> bool:
        texts = zip(browser.shown(), browser.column("price"), strict=True)
        return {symbol: float(text) for symbol, text in texts} == closes

    wait_until(are_shown, "the closes are on the page")


@of(60)
def test_redis_and_the_server_may_go_away_and_the_page_goes_on_by_itself(
    browser: Browser, stage: Stage, tmp_path: Path
) -> None:
    assert warned(browser) == ["NOT HEALTHY"]
    assert "has no group" in browser.text("#warnings")
    before = browser.column("price")
    stage.client.save()
    stage.server.kill()
    until_warned(browser, "REDIS IS AWAY")
    assert browser.column("price") == before
    stage.server.start()
    until_warned(browser, "NOT HEALTHY")
    arrives(browser, stage)
    port = stage.page.port
    stage.page.kill()
    until_warned(browser, "NO CONNECTION")
    assert browser.text("#connection") == "not connected"
    assert browser.run("return document.title") == "(!) marketstate"
    stage.serve(tmp_path, port)
    wait_until(lambda: browser.text("#connection") == "live", "it is connected again")
    arrives(browser, stage)
    browser.run(f"location.hash = '#market={stage.symbols[0]}'")
    wait_until(lambda: browser.find("#market .now").is_displayed(), "it is open")
    stage.client.flushall()
    stage.client.save()
    stage.server.kill()
    stage.server.start()
    wait_until(lambda: browser.shown() == [], "nothing is there")
    assert not browser.find("#market .now").is_displayed()
    browser.run("location.hash = ''")
    assert browser.text("#empty") == "No states yet in quantum:stream:marketstate."
    arrives(browser, stage)


def arrives(browser: Browser, stage: Stage) -> None:
    """A new state."""
    (record,) = stage.close(stage.symbols[:1])
    wait_until(lambda: record.symbol in browser.shown(), "it is there")
    wait_until(
        lambda: float(browser.cell(record.symbol, "price")) == record.close, "a state arrives"
    )


@of(60)
def test_what_is_stale_or_invented_is_said_above_all_and_no_longer_when_it_is_not(
    browser: Browser, stage: Stage
) -> None:
    symbols = stage.symbols[3:5]
    stage.close(symbols, source="synthetic")
    says(browser, "SYNTHETIC PRICES", f"of 2 of 60 markets is of invented prices: {symbols[0]}")
    stage.close(symbols)
    until(lambda: "SYNTHETIC PRICES" not in warned(browser))
    stage.close(symbols, close_time_ms=stage.last_ms + 3 * 3_600_000)
    says(browser, "STALE", "No state for more than 2h")
    assert browser.texts("#rows tr.stale th") == sorted(symbols)


def says(browser: Browser, title: str, text: str) -> None:
    until(lambda: title in warned(browser) and text in browser.text("#warnings"))


def until(condition: Callable[[], bool]) -> None:
    wait_until(condition, "the page says so")
