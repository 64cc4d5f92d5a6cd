"""Draws series of states: for each symbol, price with its regime, sigma, ts and probabilities.

Regimes differ in hatching and in colour (the colour-blind safe palette of Okabe and Ito).
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from worker.commands.markets import shown
from worker.commands.plot.series import Series

_WIDTH_IN: Final = 12.0
_HEIGHT_IN: Final = 9.0
_DOTS_PER_INCH: Final = 110
# Left and right edge of the panels, as fractions of the width.
LEFT: Final = 0.09
RIGHT: Final = 0.985
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
    "trend": _Style("#0072B2", "///", "trend"),
    "mr": _Style("#E69F00", "..", "mr (mean reversion)"),
    "chop": _Style("#999999", "", "chop"),
}
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
    """A PNG or an SVG (`kind`) with the symbols one below the other."""
    target = io.BytesIO()
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # Letters of a symbol that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN * len(many)), dpi=_DOTS_PER_INCH)
        parts = figure.subfigures(len(many), 1, squeeze=False)[:, 0]
        for part, series in zip(parts, many, strict=True):
            _draw(part, series)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        metadata = nothing if kind == "svg" else {"Software": None}
        figure.savefig(target, format=kind, metadata=metadata)
    return target.getvalue()


def _draw(part: SubFigure, series: Series) -> None:
    first, last = (np.datetime64(int(ms) // 1_000, "s").item() for ms in series.times_ms[[0, -1]])
    part.suptitle(
        f"{shown(series.symbol)}: {len(series.times_ms)} states of "
        f"{shown(series.interval)} candles, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC",
        parse_math=False,
        fontsize=12,
    )
    price, sigma, ts, probs = part.subplots(
        4, 1, sharex=True, gridspec_kw={"height_ratios": (3, 1, 1, 1.5)}
    )
    part.subplots_adjust(left=LEFT, right=RIGHT, top=0.91, bottom=0.07, hspace=0.1)
    part.align_ylabels()
    series = series.with_gaps()
    times = _days(series.times_ms)
    _background(price, series, times)
    line: Any = {"color": "#202020", "linewidth": 1.0, "marker": "." if len(times) < _FEW else ""}
    price.plot(times, series.numbers["close"], **line)
    price.set_ylabel("price\n[quote currency]")
    price.ticklabel_format(axis="y", style="plain", useOffset=False)
    _legend(price)
    sigma.plot(times, series.numbers["sigma"], **line)
    sigma.set_ylabel("sigma\n[per candle]")
    sigma.set_ylim(bottom=0)
    ts.plot(times, series.numbers["ts"], **line)
    ts.set_ylabel("ts = |mu| / sigma\n[1]")
    ts.set_ylim(bottom=0)
    _stack(probs, series, times)
    probs.set_ylabel("probability\n[1]")
    probs.set_xlabel("close time [UTC]")
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    probs.xaxis.set_major_locator(locator)
    probs.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    if len(times) > 1:
        probs.set_xlim(times[0], times[-1])


def _days(times_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Days since 1970 in UTC, matplotlib's unit of time."""
    return times_ms / 86_400_000


def _background(axes: Axes, series: Series, times: NDArray[np.float64]) -> None:
    """A regime extends from its first close to the first close of the next regime."""
    step = series.step_ms / 86_400_000
    ends = np.append(times[1:], times[-1] + step)
    for regime, style in STYLES.items():
        spans = [
            (times[start], ends[stop] - times[start])
            for start, stop in _runs(series.regime == regime)
        ]
        axes.broken_barh(
            spans,
            (0, 1),
            transform=axes.get_xaxis_transform(),
            facecolor=style.on_white(0.25),
            edgecolor=style.on_white(0.6),
            hatch=style.hatch,
            linewidth=0,
            zorder=0,
        )


def _runs(where: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last index of each run of True."""
    for is_true, run in groupby(range(len(where)), key=lambda i: bool(where[i])):
        if is_true:
            indexes = list(run)
            yield indexes[0], indexes[-1]


def _stack(axes: Axes, series: Series, times: NDArray[np.float64]) -> None:
    below = np.zeros(len(times))
    for regime, style in STYLES.items():
        above = below + series.numbers[regime]
        axes.fill_between(
            times,
            below,
            above,
            facecolor=style.on_white(0.5),
            edgecolor=style.colour,
            hatch=style.hatch,
            linewidth=0.3,
        )
        below = above
    axes.set_ylim(0, 1)


def _legend(axes: Axes) -> None:
    patches = [
        Patch(
            facecolor=style.on_white(0.35),
            edgecolor=style.colour,
            hatch=style.hatch,
            label=style.name,
        )
        for style in STYLES.values()
    ]
    axes.legend(
        handles=patches, ncols=len(patches), loc="lower left", bbox_to_anchor=(0, 1), frameon=False
    )
