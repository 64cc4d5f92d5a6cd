"""Draws series of states: for each symbol, price with its regime, sigma, ts and probabilities.

Regimes differ in hatching and in colour.
"""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.palette import LACKING, REGIMES
from marketstate.worker.commands.plot.letters import fonts_for, shortened, with_letters_of
from marketstate.worker.commands.plot.series import Series, quote_currency
from marketstate.worker.commands.plot.thinning import rows_to_draw
from marketstate.worker.commands.plot.time_axis import label_dates, on_axis
from marketstate.worker.engine.invented import TITLE

Numbers = NDArray[np.float64]

# Width and height [inch] of a symbol alone, and of each of several.
_ALONE_IN: Final = (12.0, 10.0)
_IN_GRID_IN: Final = (9.0, 9.4)
_DOTS_PER_INCH: Final = 110
# Around the panels [inch].
_LEFT_IN: Final = 1.05
_RIGHT_IN: Final = 0.2
_TOP_IN: Final = 1.15
_BOTTOM_IN: Final = 0.7
# From the panels to the middle of their labels [inch].
_LABELS_IN: Final = 0.6
_TITLE_POINTS: Final = 13
_POINTS_PER_INCH: Final = 72
_FEW: Final = 60


class _Style(NamedTuple):
    colour: str
    hatch: str
    name: str

    def on_white(self, share: float) -> tuple[float, float, float]:
        """An opaque tint of the colour; in an SVG, translucent hatching would be invisible."""
        red, green, blue = (1 - share * (1 - part) for part in to_rgb(self.colour))
        return red, green, blue


STYLES: Final = {
    "trend": _Style(REGIMES["trend"], "///", "trend"),
    "mr": _Style(REGIMES["mr"], "..", "mr (vr far from 1)"),
    "chop": _Style(REGIMES["chop"], "", "chop"),
}
_WARNING: Final = "#B00000"
# Highest prices that are shown in full: from 0.001 to 9,999,999.
_PLAIN_POWERS: Final = range(-3, 7)
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SETTINGS: Final[Any] = {
    # Keep text as text, and give the same file for the same states.
    "svg.fonttype": "none",
    "svg.hashsalt": "marketstate",
    "hatch.linewidth": 0.5,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 9,
}


def figure_bytes(many: Sequence[Series], kind: str) -> bytes:
    """A PNG or an SVG (`kind`) with the symbols in a grid."""
    target = io.BytesIO()
    fonts = fonts_for(shown(series.symbol) for series in many)
    with mpl.rc_context(_SETTINGS | {"font.family": fonts}), warnings.catch_warnings():
        # The text in an SVG is drawn by its reader, with fonts that may have these letters.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        size_in = _ALONE_IN if len(many) == 1 else _IN_GRID_IN
        columns = math.ceil(math.sqrt(len(many)))
        rows = math.ceil(len(many) / columns)
        whole_in = (columns * size_in[0], rows * size_in[1])
        figure = Figure(figsize=whole_in, dpi=_DOTS_PER_INCH)
        parts = figure.subfigures(rows, columns, squeeze=False).flat
        # A letter is at most as wide as it is high.
        longest = int(0.95 * size_in[0] * _POINTS_PER_INCH / _TITLE_POINTS)
        for part, series in zip(parts, many, strict=False):
            symbol = shown(series.symbol)
            name = symbol if kind == "svg" else with_letters_of(fonts, symbol)
            _draw(part, series, shortened(name, longest), size_in)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        metadata = nothing if kind == "svg" else {"Software": None}
        figure.savefig(target, format=kind, metadata=metadata)
    return target.getvalue()


def _draw(part: SubFigure, series: Series, name: str, size_in: tuple[float, float]) -> None:
    width_in, height_in = size_in
    first_ms, last_ms = (int(ms) for ms in series.times_ms[[0, -1]])
    title, colour = (f"{TITLE}: {name}", _WARNING) if series.synthetic else (name, "black")
    above = {"fontsize": _TITLE_POINTS, "color": colour, "y": 1 - 0.15 / height_in}
    part.suptitle(title, parse_math=False, **above)
    lines = "\n".join((series.described(), "; ".join(series.remarks())))
    part.text(0.5, 1 - 0.45 / height_in, lines, ha="center", va="top", parse_math=False)
    price, sigma, mu, ts, probs = part.subplots(
        5, 1, sharex=True, gridspec_kw={"height_ratios": (2.5, 1.15, 1.15, 1.15, 1.5)}
    )
    part.subplots_adjust(
        left=_LEFT_IN / width_in,
        right=1 - _RIGHT_IN / width_in,
        top=1 - _TOP_IN / height_in,
        bottom=_BOTTOM_IN / height_in,
        hspace=0.1,
    )
    series = series.with_gaps()
    times = on_axis(series.times_ms, series.closed)
    _background(price, series, times)
    line: Any = {"color": "#202020", "linewidth": 1.0, "marker": "." if len(times) < _FEW else ""}
    columns = round((width_in - _LEFT_IN - _RIGHT_IN) * _DOTS_PER_INCH)
    _price(price, times, series, columns, line)
    _lacking(price, series, times)
    _legend(price, is_lacking=bool(series.missing.any()))
    _line(sigma, times, 100 * series.numbers["sigma"], columns, line)
    sigma.set_ylabel("sigma\n[% per candle]")
    _from_zero(sigma)
    mu.axhline(0, color="#202020", linewidth=0.6)
    _line(mu, times, 100 * series.numbers["mu"], columns, line)
    mu.set_ylabel("mu\n[% per candle]")
    _line(ts, times, series.numbers["ts"], columns, line)
    ts.set_ylabel("ts\n[|mu| / sigma]")
    _from_zero(ts)
    _stack(probs, series, times, columns)
    probs.set_ylabel("probability\n[%]")
    probs.set_xlabel("close time [UTC]")
    for axes in (price, sigma, mu, ts, probs):
        # Aligned, without measuring the ticks of all panels for each of them.
        axes.yaxis.set_label_coords(-_LABELS_IN / (width_in - _LEFT_IN - _RIGHT_IN), 0.5)
    label_dates(probs.xaxis, series.closed, first_ms, last_ms)
    if len(times) > 1:
        probs.set_xlim(times[0], times[-1])


def _from_zero(axes: Axes) -> None:
    highest = axes.dataLim.y1
    axes.set_ylim(0, 1.08 * highest if highest > 0 else 1)


def _line(axes: Axes, times: Numbers, values: Numbers, columns: int, style: Any) -> None:
    rows = rows_to_draw(times, columns, values)
    axes.plot(times[rows], values[rows], **style)


def _price(axes: Axes, times: Numbers, series: Series, columns: int, line: Any) -> None:
    """A power of ten in the unit keeps the ticks of very low and very high prices short."""
    closes = series.numbers["close"]
    power = math.floor(math.log10(np.nanmax(closes)))
    if power in _PLAIN_POWERS:
        power = 0
    _line(axes, times, closes / 10.0**power, columns, line)
    scale = f"10{str(power).translate(_SUPERSCRIPTS)} " if power else ""
    axes.set_ylabel(f"price\n[{scale}{quote_currency(shown(series.symbol))}]")
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)


def _lacking(axes: Axes, series: Series, times: Numbers) -> None:
    """A strip below the states whose windows lack candles."""
    spans = _spans(series, times, series.missing > 0)
    axes.broken_barh(
        spans, (0, 0.02), transform=axes.get_xaxis_transform(), facecolor=LACKING, linewidth=0
    )


def _background(axes: Axes, series: Series, times: Numbers) -> None:
    """A regime extends from its first close to the first close of the next regime."""
    for regime, style in STYLES.items():
        axes.broken_barh(
            _spans(series, times, series.regime == regime),
            (0, 1),
            transform=axes.get_xaxis_transform(),
            facecolor=style.on_white(0.25),
            edgecolor=style.on_white(0.6),
            hatch=style.hatch,
            linewidth=0,
            zorder=0,
        )


def _spans(series: Series, times: Numbers, where: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Start and length of each run of True; it extends to the next row."""
    ends = np.append(times[1:], times[-1] + series.step_ms / 86_400_000)
    return [(times[start], ends[stop] - times[start]) for start, stop in _runs(where)]


def _runs(where: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last index of each run of True."""
    for is_true, run in groupby(range(len(where)), key=lambda i: bool(where[i])):
        if is_true:
            indexes = list(run)
            yield indexes[0], indexes[-1]


def _stack(axes: Axes, series: Series, times: Numbers, columns: int) -> None:
    parts = [100 * series.numbers[regime] for regime in STYLES]
    edges = np.cumsum([np.zeros(len(times)), *parts], axis=0)
    rows = rows_to_draw(times, columns, *edges)
    for style, below, above in zip(STYLES.values(), edges, edges[1:], strict=False):
        axes.fill_between(
            times[rows],
            below[rows],
            above[rows],
            facecolor=style.on_white(0.5),
            edgecolor=style.colour,
            hatch=style.hatch,
            linewidth=0.3,
        )
    axes.set_ylim(0, 100)


def _legend(axes: Axes, *, is_lacking: bool) -> None:
    patches = [
        Patch(
            facecolor=style.on_white(0.35),
            edgecolor=style.colour,
            hatch=style.hatch,
            label=style.name,
        )
        for style in STYLES.values()
    ]
    if is_lacking:
        patches.append(Patch(facecolor=LACKING, label="strip: candles missing in the window"))
    axes.legend(
        handles=patches, ncols=len(patches), loc="lower left", bbox_to_anchor=(0, 1), frameon=False
    )
