"""A real browser, without a window: what it shows, and how a user acts in it."""

import shutil
from collections.abc import Sequence
from typing import Any, Final, Self

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.processes import PATIENCE_S
from tests.support.worker_process import wait_until

BROWSER: Final = "chromium"
DRIVER: Final = "chromedriver"
_OPTIONS: Final = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--disable-background-networking", "--js-flags=--expose-gc"),
)
WIDE: Final = (1_280, 800)


class Browser:
    def __init__(self) -> None:
        options = Options()
        options.binary_location = shutil.which(BROWSER) or BROWSER
        for option in _OPTIONS:
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self._driver: Any = webdriver.Chrome(options, Service(shutil.which(DRIVER) or DRIVER))
        self._driver.set_script_timeout(PATIENCE_S)
        self.look()

    def look(self, size: tuple[int, int] = WIDE, *, dark: bool = False, scale: int = 1) -> None:
        width, height = size
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 700,
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[theme])

    def open(self, address: str, rows: int | None = None) -> None:
        """As somebody who was never here; waits for so many rows."""
        self._driver.get("about:blank")
        self._driver.get(address)
        self.run("localStorage.clear()")
        self.complaints()
        self._driver.refresh()
        if rows is not None:
            wait_until(lambda: len(self.shown()) == rows, f"{rows} markets are shown")

    def again(self) -> None:
        self._driver.refresh()

    def run(self, script: str, *arguments: object) -> Any:
        return self._driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        found: WebElement = self._driver.find_element(By.CSS_SELECTOR, selector)
        return found

    def texts(self, selector: str) -> list[str]:
        """Of all that match, also where they are not in view."""
        every = "[...document.querySelectorAll(arguments[0])]"
        found: list[str] = self.run(f"return {every}.map(one => one.textContent.trim())", selector)
        return found

    def text(self, selector: str) -> str:
        """As it is shown."""
        return str(self.find(selector).text)

    def shown(self) -> list[str]:
        """The symbols, from the top."""
        return self.texts("#rows tbody th")

    def column(self, name: str) -> list[str]:
        return self.texts(f"#rows tbody .c-{name}")

    def cell(self, symbol: str, column: str) -> str:
        cells = dict(zip(self.shown(), self.column(column), strict=True))
        return cells[symbol]

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def press(self, *keys: str) -> None:
        """Wherever the focus is."""
        ActionChains(self._driver).send_keys(*keys).perform()

    def point_at(self, selector: str) -> None:
        ActionChains(self._driver).move_to_element(self.find(selector)).perform()

    def focused(self) -> str:
        """The text of what has the focus, or its label."""
        return str(
            self.run(
                "const at = document.activeElement; return at.innerText || at.ariaLabel || at.id"
            )
        )

    def tab_to(self, text: str, most: int = 40) -> None:
        for _ in range(most):
            if self.focused().startswith(text):
                return
            self.press("\ue004")
        raise AssertionError(f"the Tab key does not reach {text!r}")

    def complaints(self) -> list[str]:
        """Errors and warnings since the last call, but those about a server that is away."""
        entries: Sequence[Any] = self._driver.get_log("browser")
        said = [entry["message"] for entry in entries if entry["level"] != "INFO"]
        return [text for text in said if "net::ERR_" not in text]

    def until_cell(self, symbol: str, column: str, text: str) -> None:
        """Asks once, unlike `wait_until`: what is asked often stays in the memory of the page."""
        self._driver.execute_async_script(
            """const [symbol, column, text, done] = arguments;
            const link = [...document.querySelectorAll("#rows a")]
              .find(one => one.textContent === symbol);
            const cell = link.closest("tr").querySelector(`.c-${column}`);
            (function look() {
              if (cell.textContent === text) done(); else setTimeout(look, 50);
            })();""",
            *(symbol, column, text),
        )

    def judged_by(self, axe: str) -> list[Any]:
        """What axe-core, whose text this is, holds against the page as it is shown now."""
        self._devtools("Runtime.evaluate", expression=axe)
        found: list[Any] = self._driver.execute_async_script(
            "axe.run(document).then(found => arguments[0](found.violations))"
        )
        return found

    def heap_bytes(self) -> int:
        """What the page's objects take, after the garbage is collected."""
        self._devtools("HeapProfiler.collectGarbage")
        usage = self._devtools("Runtime.getHeapUsage")
        return int(usage["usedSize"])

    def nodes(self) -> int:
        """Of all documents, also those that are no longer shown but cannot be collected."""
        return int(self._devtools("Memory.getDOMCounters")["nodes"])

    def picture(self) -> bytes:
        return bytes(self._driver.get_screenshot_as_png())

    def _devtools(self, command: str, **arguments: object) -> Any:
        return self._driver.execute_cdp_cmd(command, arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.quit()
