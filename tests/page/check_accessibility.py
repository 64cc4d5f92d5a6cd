"""What axe-core finds in the page: nothing serious."""

from typing import Any, Final

import pytest

from tests.page.browser import WIDE, Browser
from tests.page.fixtures import Stage, of
from tests.page.needs import AXE
from tests.support.worker_process import wait_until

NARROW: Final = (360, 780)
BIG: Final = (1_920, 1_080)
# Both are errors for us; others are only said.
FORBIDDEN: Final = {"serious", "critical"}


@of(60)
@pytest.mark.parametrize("size", [WIDE, NARROW, BIG], ids=["wide", "narrow", "big"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_keeps_anybody_from_using_it(
    browser: Browser, stage: Stage, size: tuple[int, int], dark: bool
) -> None:
    browser.look(size, dark=dark)
    browser.open(stage.address, 60)
    stage.close(stage.symbols[:2], source="synthetic")
    stage.close(stage.symbols[3:4], close_time_ms=stage.last_ms + 10 * 3_600_000)
    wait_until(lambda: len(browser.texts("#warnings p")) == 3, "there are warnings")
    assert serious(browser) == []
    browser.run(f"location.hash = '#market={stage.symbols[0]}'")
    wait_until(lambda: browser.find("canvas").is_displayed(), "its plots are there")
    browser.click("#market summary")
    wait_until(lambda: browser.texts("#market tbody th") != [], "the states are there")
    assert serious(browser) == []
    browser.run("location.hash = '#market=NOSUCH'")
    wait_until(lambda: "no states" in browser.text("#market"), "there is none")
    assert serious(browser) == []
    assert all("NOSUCH.json" in one for one in browser.complaints())


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_keeps_anybody_from_choosing_an_interval(
    browser: Browser, several: Stage, size: tuple[int, int], dark: bool
) -> None:
    browser.look(size, dark=dark)
    browser.click("#intervals label:nth-of-type(2)")
    wait_until(lambda: len(browser.shown()) == 1, "the states are there")
    assert serious(browser) == []
    assert browser.run("return document.documentElement.scrollWidth") == size[0]
    assert browser.shown() == [several.symbols[0]]


def serious(browser: Browser) -> list[Any]:
    found = browser.judged_by(AXE.read_text())
    for one in found:
        print(f"axe-core: {one['impact']}: {one['id']}: {one['help']}")
        for node in one["nodes"][:3]:
            print(f"    {node['html'][:200]}: {node.get('failureSummary', '')[:300]}")
    return [one["id"] for one in found if one["impact"] in FORBIDDEN]
