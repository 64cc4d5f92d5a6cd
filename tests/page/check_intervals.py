"""The switch between the candle interval and longer ones."""

from tests.page.browser import Browser
from tests.page.fixtures import FEW, Stage
from tests.support.worker_process import wait_until

ARROW_RIGHT = "\ue014"
FIRST = FEW[0]
FOLLOW = "dispatchEvent(new PopStateEvent('popstate'))"


def until_shown(browser: Browser, ts: float, rows: int = 1) -> None:
    wait_until(
        lambda: len(browser.shown()) == rows and f"{ts:.3f}" in browser.cell(FIRST, "ts"),
        "the states are there",
    )


def plotted(browser: Browser) -> int:
    return int(browser.run("return document.querySelector('canvas')?.ariaValueMax ?? -1")) + 1


def chosen(browser: Browser) -> str:
    return str(browser.run("return document.querySelector('#intervals input:checked').value"))


def test_without_longer_intervals_there_is_no_switch(browser: Browser, stage: Stage) -> None:
    assert not browser.find("#intervals").is_displayed()
    assert browser.run("return location.search") == ""
    assert stage.symbols


def test_another_interval_is_shown_in_table_and_plots_and_kept_in_the_address(
    browser: Browser, several: Stage
) -> None:
    base, longer = several.record(FIRST, several.count - 1), several.of_longer("5m", 29)
    until_shown(browser, base.ts, rows=3)
    assert browser.texts("#intervals label") == ["1m", "5m", "1h"]
    browser.click("#rows .c-ts button")
    browser.run(f"location.hash = '#market={FIRST}'")
    wait_until(lambda: plotted(browser) == several.count, "its plots are there")
    browser.click("#intervals label:nth-of-type(2)")
    until_shown(browser, longer.ts)
    wait_until(lambda: plotted(browser) == 30, "its plots are there")
    assert browser.text("#market-title") == FIRST
    assert "5m" in browser.text("#market .plots")
    assert browser.run("return location.search + location.hash") == f"?interval=5m#market={FIRST}"
    assert browser.run("return document.querySelector('[aria-sort]').classList[0]") == "c-ts"
    several.publish_longer("5m", [30])
    until_shown(browser, several.of_longer("5m", 30).ts)
    wait_until(lambda: plotted(browser) == 31, "they go on")
    browser.again()
    until_shown(browser, several.of_longer("5m", 30).ts)
    assert chosen(browser) == "5m"


def test_the_switch_is_used_by_keyboard_and_the_way_back_is_that_of_the_browser(
    browser: Browser, several: Stage
) -> None:
    base = several.record(FIRST, several.count - 1)
    browser.run("document.querySelector('#intervals input:checked').focus()")
    browser.press(ARROW_RIGHT)
    until_shown(browser, several.of_longer("5m", 29).ts)
    browser.press(ARROW_RIGHT)
    nothing = "No states yet in quantum:stream:marketstate.1h."
    wait_until(lambda: browser.text("#empty") == nothing, "there are none")
    browser.run("history.back()")
    until_shown(browser, several.of_longer("5m", 29).ts)
    assert chosen(browser) == "5m"
    browser.run("history.back()")
    until_shown(browser, base.ts, rows=3)
    assert (chosen(browser), browser.run("return location.search")) == ("1m", "")


def test_an_interval_that_is_not_published_is_forgotten(browser: Browser, several: Stage) -> None:
    browser.open(f"{several.address}?interval=7m", 3)
    until_shown(browser, several.record(FIRST, several.count - 1).ts, rows=3)
    assert (chosen(browser), browser.run("return location.search")) == ("1m", "")
    for _ in range(2):
        browser.run(f"history.pushState(null, '', '?interval=7m'); {FOLLOW}")
        wait_until(lambda: browser.run("return location.search") == "", "it is forgotten again")
    assert all("interval=7m" in one for one in browser.complaints())
