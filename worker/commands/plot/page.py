"""An HTML page with a plot per symbol, which shows the numbers under the mouse pointer.

It is a single file with the plots, the numbers and a short script. It loads nothing, and its
Content-Security-Policy forbids loading anything.
"""

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from worker.commands.markets import shown
from worker.commands.plot.figure import BOTTOM, LEFT, RIGHT, TOP, figure_bytes
from worker.commands.plot.series import Series
from worker.commands.plot.time_axis import on_axis

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE: Final = """
body { font: 15px sans-serif; color: #202020; background: #fff; max-width: 1300px;
  margin: 1em auto }
.drawing { position: relative }
.drawing svg { display: block; width: 100%; height: auto }
.drawing hr { position: absolute; top: TOP; bottom: BOTTOM; width: 0; margin: 0; border: 0;
  border-left: 1px dashed #202020; pointer-events: none }
.numbers { font-family: monospace; white-space: pre-wrap; min-height: 2.4em; margin: 0.5em }
""".replace("TOP", f"{1 - TOP:.1%}").replace("BOTTOM", f"{BOTTOM:.1%}")
_SCRIPT: Final = """
for (const section of document.querySelectorAll("section")) {
  const { left, right, times, places, regimes, numbers } =
    JSON.parse(section.querySelector("script").textContent);
  const drawing = section.querySelector(".drawing"), line = section.querySelector("hr");
  drawing.addEventListener("mousemove", event => {
    const box = drawing.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width - left) / (right - left);
    let low = 0, high = places.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle] < share) low = middle + 1; else high = middle;
    }
    if (low > 0 && share - places[low - 1] < places[low] - share) low -= 1;
    line.hidden = false;
    line.style.left = 100 * (left + places[low] * (right - left)) + "%";
    const closed = new Date(times[low]).toISOString().slice(0, 19).replace("T", " ");
    section.querySelector(".numbers").textContent = closed + " UTC  regime " + regimes[low] +
      Object.entries(numbers).map(([name, values]) => "  " + name + " " + values[low]).join("");
  });
}
"""


def page_bytes(many: Sequence[Series]) -> bytes:
    names = html.escape(", ".join(shown(series.symbol) for series in many))
    parts = (
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>Market state of {names}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Market state of {names}</h1>",
        *(line for series in many for line in _section(series)),
        f"<script>{_SCRIPT}</script></body></html>\n",
    )
    return "\n".join(parts).encode()


def _section(series: Series) -> Iterator[str]:
    yield "<section>"
    yield '<p class="numbers">Move the pointer over a plot to read its numbers.</p>'
    yield f'<div class="drawing">{_svg(series)}<hr hidden></div>'
    yield f'<script type="application/json">{_data(series)}</script>'
    yield "</section>"


def _svg(series: Series) -> str:
    """The svg element, without the prolog that only a separate file needs."""
    text = figure_bytes([series], "svg").decode()
    return re.sub(r"\A.*?(?=<svg)", "", text, count=1, flags=re.DOTALL)


def _data(series: Series) -> str:
    document: dict[str, Any] = {
        "left": LEFT,
        "right": RIGHT,
        "times": series.times_ms.tolist(),
        "places": _places(series),
        "regimes": [shown(regime) for regime in series.regime.tolist()],
        "numbers": {
            name: [float(f"{value:.8g}") for value in values]
            for name, values in series.numbers.items()
        }
        | ({"missing": series.missing.tolist()} if series.missing.any() else {}),
    }
    # Only `<` could end the script element.
    return msgspec.json.encode(document).decode().replace("<", "\\u003c")


def _places(series: Series) -> list[float]:
    """Where the states are between the left and the right end of the time axis, from 0 to 1."""
    places = on_axis(series.times_ms, series.closed)
    span = places[-1] - places[0]
    return [round(float(place), 6) for place in (places - places[0]) / (span or 1.0)]
