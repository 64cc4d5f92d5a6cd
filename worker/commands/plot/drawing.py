"""What the panels of a figure show of one symbol: lines, regimes, and what is marked.

Regimes differ in hatching and in colour.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.palette import LACKING, REGIMES
from marketstate.worker.commands.plot.marks import changes
from marketstate.worker.commands.plot.series import Series, quote_currency
from marketstate.worker.commands.plot.thinning import rows_to_draw
from marketstate.worker.commands.plot.time_axis import MOST_DATES, label_dates, on_axis

Numbers = NDArray[np.float64]

_INK: Final = "#202020"
_FEW_STATES: Final = 60
# So few changes of the regime have a line through all panels; more of them would hide the rest.
_FEW_CHANGES: Final = 40
_CHANGE: Final[Any] = {"marker": "v", "markersize": 4.5, "linestyle": "", "markeredgewidth": 0}
# Highest prices that are shown in full: from 0.001 to 9,999,999.
_PLAIN_POWERS: Final = range(-3, 7)
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


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
_LACKS: Final = _Style(LACKING, "", "")


class Drawing:
    """Of one symbol, on panels that are so many `columns` of pixels wide."""

    def __init__(self, series: Series, columns: int) -> None:
        self._columns = columns
        self._closed, self._gaps = series.closed, series.gaps
        self._span_ms = (int(series.times_ms[0]), int(series.times_ms[-1]))
        self._changed = on_axis(series.times_ms[changes(series.regime)], series.closed)
        self._changed_to = series.regime[changes(series.regime)]
        self._series = series = series.with_gaps()
        self._times = on_axis(series.times_ms, series.closed)
        self._marker = "." if len(self._times) < _FEW_STATES else ""

    def price(self, axes: Axes) -> None:
        """A power of ten in the unit keeps the ticks of very low and very high prices short."""
        self._background(axes)
        closes = self._series.numbers["close"]
        power = math.floor(math.log10(np.nanmax(closes)))
        if power in _PLAIN_POWERS:
            power = 0
        self._line(axes, closes / 10.0**power)
        scale = f"10{str(power).translate(_SUPERSCRIPTS)} " if power else ""
        axes.set_ylabel(f"price\n[{scale}{quote_currency(shown(self._series.symbol))}]")
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)
        self._lacking(axes)

    def sigma(self, axes: Axes) -> None:
        self._line(axes, 100 * self._series.numbers["sigma"])
        axes.set_ylabel(f"sigma\n[% per {self._series.sigma_per}]")
        from_zero(axes)

    def mu(self, axes: Axes) -> None:
        axes.axhline(0, color=_INK, linewidth=0.6)
        self._line(axes, 100 * self._series.numbers["mu"])
        axes.set_ylabel("mu\n[% per candle]")

    def ts(self, axes: Axes) -> None:
        self._line(axes, self._series.numbers["ts"])
        axes.set_ylabel("ts\n[|mu| / sigma]")
        from_zero(axes)

    def probabilities(self, axes: Axes) -> None:
        times = self._times
        parts = [100 * self._series.numbers[regime] for regime in STYLES]
        edges = np.cumsum([np.zeros(len(times)), *parts], axis=0)
        rows = rows_to_draw(times, self._columns, *edges)
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
        axes.set_ylabel("probability\n[%]")

    def mark(self, panels: Sequence[Axes]) -> None:
        """Gaps, through all panels, and changes of the regime, above the first one."""
        starts, ends = (on_axis(each, self._closed) for each in self._gaps[:2])
        for axes in panels:
            axes.broken_barh(
                list(zip(starts, ends - starts, strict=True)),
                (0, 1),
                transform=axes.get_xaxis_transform(),
                facecolor=_LACKS.on_white(0.2),
                # A short gap is seen, too.
                edgecolor=_LACKS.on_white(0.5),
                linewidth=0.6,
                zorder=0.5,
            )
            if len(self._changed) <= _FEW_CHANGES:
                for place in self._changed:
                    axes.axvline(place, color=_INK, linewidth=0.5, linestyle=(0, (1, 2)))
        for regime, style in STYLES.items():
            places = self._changed[self._changed_to == regime]
            panels[0].plot(
                places,
                np.full(len(places), 1.02),
                color=style.colour,
                transform=panels[0].get_xaxis_transform(),
                clip_on=False,
                **_CHANGE,
            )

    def time(self, axes: Axes, most_dates: int = MOST_DATES) -> None:
        axes.set_xlabel("close time [UTC]")
        label_dates(axes.xaxis, self._closed, *self._span_ms, most_dates)
        if len(self._times) > 1:
            axes.set_xlim(self._times[0], self._times[-1])

    def _line(self, axes: Axes, values: Numbers) -> None:
        rows = rows_to_draw(self._times, self._columns, values)
        axes.plot(self._times[rows], values[rows], color=_INK, linewidth=1.0, marker=self._marker)

    def _lacking(self, axes: Axes) -> None:
        """A strip below the states whose windows lack candles."""
        axes.broken_barh(
            self._spans(self._series.missing > 0),
            (0, 0.02),
            transform=axes.get_xaxis_transform(),
            facecolor=LACKING,
            linewidth=0,
        )

    def _background(self, axes: Axes) -> None:
        """A regime extends from its first close to the first close of the next regime."""
        for regime, style in STYLES.items():
            axes.broken_barh(
                self._spans(self._series.regime == regime),
                (0, 1),
                transform=axes.get_xaxis_transform(),
                facecolor=style.on_white(0.25),
                edgecolor=style.on_white(0.6),
                hatch=style.hatch,
                linewidth=0,
                zorder=0,
            )

    def _spans(self, where: NDArray[np.bool_]) -> list[tuple[float, float]]:
        """Start and length of each run of True; it extends to the next row."""
        times = self._times
        ends = np.append(times[1:], times[-1] + self._series.step_ms / 86_400_000)
        return [(times[start], ends[stop] - times[start]) for start, stop in _runs(where)]


def from_zero(axes: Axes) -> None:
    highest = axes.dataLim.y1
    axes.set_ylim(0, 1.08 * highest if highest > 0 else 1)


def legend(many: Sequence[Series]) -> list[Patch | Line2D]:
    """The key to what is in the panels of these symbols."""
    handles: list[Patch | Line2D] = [
        Patch(
            facecolor=style.on_white(0.35),
            edgecolor=style.colour,
            hatch=style.hatch,
            label=style.name,
        )
        for style in STYLES.values()
    ]
    if any(len(changes(series.regime)) for series in many):
        handles.append(Line2D([], [], color=_INK, label="the regime changes", **_CHANGE))
    if any(len(series.gaps.candles) for series in many):
        face, edge = _LACKS.on_white(0.2), _LACKS.on_white(0.5)
        handles.append(Patch(facecolor=face, edgecolor=edge, label="gap: candles are missing"))
    if any(series.missing.any() for series in many):
        handles.append(Patch(facecolor=LACKING, label="strip: candles missing in the window"))
    return handles


def _runs(where: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last index of each run of True."""
    for is_true, run in groupby(range(len(where)), key=lambda i: bool(where[i])):
        if is_true:
            indexes = list(run)
            yield indexes[0], indexes[-1]
