"""An HTML page with a plot per symbol, which shows the numbers under the pointer.

It is a single file with the numbers, and a script that draws them.
"""

import html
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import Final

import msgspec

from marketstate.worker.commands.html_page import html_page, key_of
from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.plot.document import drawn
from marketstate.worker.commands.plot.marks import changes
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.engine.invented import TITLE

_HELP: Final = (
    "Point at a plot to read its numbers. Zoom with Ctrl and the wheel, with two fingers, or with "
    "+, - and 0; drag to move; arrow keys step from state to state."
)
_BUTTONS: Final = (
    '<button type="button" value="-" aria-label="zoom out">-</button>'
    '<button type="button" value="+" aria-label="zoom in">+</button>'
    '<button type="button" value="0">all</button>'
)
_START: Final = """
for (const section of document.querySelectorAll("section"))
  new Plot(section.querySelector("canvas"), section.querySelector(".numbers"),
    section.querySelectorAll("button"), JSON.parse(section.querySelector("script").textContent));
"""


def page_bytes(many: Sequence[Series], meaning: str) -> bytes:
    """`meaning` is what the regimes are, in words."""
    names = ", ".join(shown(series.symbol) for series in many)
    body = (
        f"<p>{html.escape(meaning.capitalize())}. {_HELP}</p>",
        "<noscript><p>This page needs JavaScript to draw.</p></noscript>",
        *_index(many),
        *(line for number, series in enumerate(many) for line in _section(number, series)),
    )
    plots = (files("marketstate.worker.commands") / "plots.js").read_text()
    return html_page(f"Market state of {names}", body, plots + _START)


def _index(many: Sequence[Series]) -> Iterator[str]:
    if len(many) > 1:
        links = (
            f'<a href="#s{number}">{html.escape(shown(series.symbol))}</a> '
            f"{html.escape(_regime(series))}"
            for number, series in enumerate(many)
        )
        yield f"<nav>{''.join(f'<span>{link}</span>' for link in links)}</nav>"


def _regime(series: Series) -> str:
    """The last one, with its probability."""
    regime = str(series.regime[-1])
    probability = f" {series.numbers[regime][-1]:.0%}" if regime in REGIMES else ""
    return f"{shown(regime)}{probability}"


def _section(number: int, series: Series) -> Iterator[str]:
    symbol = html.escape(shown(series.symbol))
    invented = f"<mark>{TITLE}</mark> " if series.synthetic else ""
    yield f'<section id="s{number}"><header><h2>{invented}{symbol}</h2>'
    yield '<div class="numbers"></div></header>'
    yield f"<p>{html.escape('; '.join((series.described(), *series.remarks())))}</p>"
    yield f'<div class="key">{_BUTTONS}{"".join(_key(series))}</div>'
    yield f'<canvas tabindex="0" aria-label="the states of {symbol} over time"></canvas>'
    yield f'<script type="application/json">{_data(series)}</script></section>'


def _key(series: Series) -> Iterator[str]:
    yield from map(key_of, REGIMES)
    if len(changes(series.regime)):
        yield "<span>▼ the regime changes</span>"
    if len(series.gaps.candles):
        yield '<span><i style="background: var(--lacking); opacity: 0.3"></i>'
        yield "gap: candles are missing</span>"
    if series.missing.any():
        yield '<span><i style="background: var(--lacking)"></i>'
        yield "strip: candles missing in the window</span>"


def _data(series: Series) -> str:
    # Only `<` could end the script element.
    return msgspec.json.encode(drawn(series)).decode().replace("<", "\\u003c")
