"""The table of all markets: what it shows, sorted, filtered, by keyboard, narrow and dark."""

import pytest

from marketstate.worker.commands.palette import DARK_PAGE, LIGHT_PAGE
from tests.page.browser import Browser
from tests.page.fixtures import EVIL, Stage, many, of
from tests.support.worker_process import wait_until

ARROW_DOWN, END, ENTER, ESCAPE, HOME = "\ue015", "\ue010", "\ue007", "\ue00c", "\ue011"


@of(3, 60, 600)
def test_every_market_is_a_row_with_the_numbers_of_its_last_state(
    browser: Browser, stage: Stage
) -> None:
    assert browser.shown() == sorted(stage.symbols)
    for symbol in (stage.symbols[0], stage.symbols[-1], EVIL):
        last = stage.record(symbol, stage.count - 1)
        probs = last.regime_probs
        assert {
            name: browser.cell(symbol, name)
            for name in ("sigma", "mu", "ts", "trend", "mr", "chop", "bar", "regime")
        } == {
            "sigma": f"{100 * last.sigma:.4f}",
            "mu": f"+{100 * last.mu:.5f}" if last.mu else "0.00000",
            "ts": f"▲ {last.ts:.3f}" if last.mu else "0.000",
            "trend": f"{100 * probs.trend:.0f}",
            "mr": f"{100 * probs.mr:.0f}",
            "chop": f"{100 * probs.chop:.0f}",
            "bar": f"trend {100 * probs.trend:.0f} %, mr {100 * probs.mr:.0f} %, "
            f"chop {100 * probs.chop:.0f} %",
            "regime": last.regime,
        }
        assert float(browser.cell(symbol, "price").replace(",", "")) == last.close
    assert browser.text("#shown") == f"{len(stage.symbols)} markets"


@of(60)
def test_any_column_sorts_and_again_the_other_way_round(browser: Browser, stage: Stage) -> None:
    records = {symbol: stage.record(symbol, stage.count - 1) for symbol in stage.symbols}
    by_name = sorted(records)
    for column in ("ts", "sigma", "price"):
        name = "close" if column == "price" else column
        browser.click(f"#rows .c-{column} button")
        falling = sorted(by_name, key=lambda one: getattr(records[one], name), reverse=True)
        assert browser.shown() == falling
        assert sorted_by(browser) == [(column, "descending")]
        browser.click(f"#rows .c-{column} button")
        rising = sorted(by_name, key=lambda one: getattr(records[one], name))
        assert browser.shown() == rising
        assert sorted_by(browser) == [(column, "ascending")]
    assert len(browser.texts("#rows thead th button")) == len(browser.texts("#rows thead th"))


def sorted_by(browser: Browser) -> list[tuple[str, str]]:
    found: list[list[str]] = browser.run(
        "return [...document.querySelectorAll('[aria-sort]')]"
        ".map(th => [th.className.split(' ')[0].slice(2), th.getAttribute('aria-sort')])"
    )
    return [(name, order) for name, order in found]


@of(60)
def test_a_text_and_a_regime_filter_and_escape_clears_the_text(
    browser: Browser, stage: Stage
) -> None:
    browser.click("#filter")
    browser.press("coin00")
    assert browser.shown() == [f"COIN00{digit}USDT" for digit in range(10)]
    assert browser.text("#shown") == "10 of 60 markets"
    browser.press(ESCAPE)
    assert len(browser.shown()) == 60
    browser.click("#regimes label:nth-of-type(3)")
    of_mr = [one for one in many(60) if stage.record(one, stage.count - 1).regime == "mr"]
    assert browser.shown() == sorted(of_mr)
    browser.click("#filter")
    browser.press("nothing like it")
    assert browser.shown() == []
    assert browser.text("#empty") == "No market matches the filter."


@of(60)
def test_a_market_is_found_opened_and_closed_by_keyboard_alone(
    browser: Browser, stage: Stage
) -> None:
    browser.tab_to("Filter by symbol")
    browser.press("coin")
    browser.tab_to("ts")
    browser.press(ENTER)
    first, second, last = (browser.shown()[i] for i in (0, 1, -1))
    browser.tab_to(first)
    browser.press(ARROW_DOWN)
    assert browser.focused() == second
    browser.press(END)
    assert browser.focused() == last
    browser.press(HOME, ARROW_DOWN, ENTER)
    wait_until(lambda: browser.text("#market-title") == second, "it is open")
    assert browser.focused() == second
    assert browser.run("return document.activeElement.id") == "market-title"
    assert browser.run("return location.hash") == f"#market={second}"
    browser.tab_to(f"The states of {second}")
    before = browser.run("return document.activeElement.ariaValueText")
    browser.press("\ue012")  # to the left
    assert browser.run("return document.activeElement.ariaValueText") != before
    browser.press(ESCAPE)
    wait_until(lambda: browser.focused() == second, "the focus is where it was")
    assert browser.run("return document.activeElement.closest('#rows') !== null")
    assert browser.run("return location.hash") == ""
    assert stage.symbols


@of(60)
def test_rows_stay_where_they_are_while_somebody_reads(browser: Browser, stage: Stage) -> None:
    browser.click("#rows .c-ts button")
    before = browser.shown()
    browser.point_at("#rows tbody tr:nth-child(2) .c-sigma")
    lowest = before[-1]
    (record,) = stage.close([lowest], ts=7.5)
    wait_until(lambda: "7.500" in browser.cell(lowest, "ts"), "the state is there")
    assert browser.shown() == before
    assert browser.text("#resort").startswith("Sort again (")
    browser.click("#resort")
    assert browser.shown()[0] == record.symbol


def test_a_symbol_that_looks_like_a_script_is_only_shown(browser: Browser, stage: Stage) -> None:
    browser.run("document.title = 'as it was'; window.alert = () => { document.title = 'alert' }")
    stage.close([EVIL], source="synthetic")
    wait_until(lambda: EVIL in browser.text("#warnings"), "the warning names it")
    assert "SYNTHETIC PRICES" in browser.text("#warnings")
    browser.run(
        "[...document.querySelectorAll('#rows a')].find(a => a.textContent[0] === '<').click()"
    )
    wait_until(lambda: browser.text("#market-title") == EVIL, "it is open")
    wait_until(lambda: browser.texts("canvas") != [], "its plots are there")
    assert browser.run("return document.title").startswith("(!) ")
    scripts = browser.run("return [...document.scripts].map(one => one.src.split('/').pop())")
    assert scripts == ["theme.js", "page.js"]


@of(60)
@pytest.mark.parametrize("width", [360, 390])
def test_on_a_narrow_screen_each_market_is_a_card(
    browser: Browser, stage: Stage, width: int
) -> None:
    browser.look((width, 780))
    browser.open(stage.address, 60)
    assert browser.run("return document.documentElement.scrollWidth") == width
    assert not browser.find("#rows thead").is_displayed()
    assert not browser.find("#rows .c-mu").is_displayed()
    for column in ("symbol", "price", "recent", "sigma", "ts", "bar", "regime", "age"):
        assert browser.find(f"#rows tbody .c-{column}").is_displayed(), column
    for column in ("sigma", "ts", "regime", "age"):
        wide, room = browser.run(
            "const at = document.querySelector(`#rows tbody .c-${arguments[0]}`);"
            "return [at.scrollWidth, at.clientWidth]",
            column,
        )
        assert wide <= room, f"{column} is cut off"
    browser.run(
        "const by = document.querySelector('#sorting'); by.value = 'price';"
        "by.dispatchEvent(new Event('change'))"
    )
    assert browser.shown() == sorted(
        stage.symbols, key=lambda one: -stage.record(one, stage.count - 1).close
    )
    browser.run(f"location.hash = '#market={stage.symbols[0]}'")
    wait_until(lambda: browser.find("canvas").is_displayed(), "the plots are there")
    assert browser.run("return document.documentElement.scrollWidth") == width


def test_it_is_dark_where_the_system_is_unless_it_is_told_otherwise(
    browser: Browser, stage: Stage
) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    light, dark = (rgb(page["paper"]) for page in (LIGHT_PAGE, DARK_PAGE))
    assert browser.run(paper) == light
    browser.look(dark=True)
    wait_until(lambda: browser.run(paper) == dark, "it follows the system")
    browser.click("#theme")
    browser.click("#theme")
    assert browser.text("#theme") == "Theme: light"
    assert browser.run(paper) == light
    browser.again()
    wait_until(lambda: browser.text("#theme") == "Theme: light", "it is kept")
    assert browser.run(paper) == light
    assert stage.symbols


def rgb(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"


def test_what_a_column_means_is_said_on_hover_and_on_focus(browser: Browser, stage: Stage) -> None:
    tip = browser.find("#about-sigma")
    assert not tip.is_displayed()
    browser.point_at("#rows thead .c-sigma button")
    wait_until(tip.is_displayed, "it is shown")
    browser.press(ESCAPE)
    wait_until(lambda: not tip.is_displayed(), "Escape takes it away")
    browser.point_at("h1")
    browser.tab_to("sigma")
    wait_until(tip.is_displayed, "it is shown")
    described = "return document.activeElement.getAttribute('aria-describedby')"
    assert browser.run(described) == "about-sigma"
    assert stage.symbols
