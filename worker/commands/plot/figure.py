"""Draws series of states: of each symbol, price with its regime, sigma, mu, ts and probabilities.

Or small multiples, with price and sigma alone.
"""

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.plot.drawing import Drawing, legend
from marketstate.worker.commands.plot.letters import fonts_for, shortened, with_letters_of
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.engine.invented import TITLE

# Width and height [inch] of a symbol alone, of each of several, and of a small one.
_ALONE_IN: Final = (12.0, 10.0)
_IN_GRID_IN: Final = (9.0, 9.4)
_SMALL_IN: Final = (4.6, 2.5)
_DOTS_PER_INCH: Final = 110
# Around the panels [inch], and around small ones.
_LEFT_IN: Final = 1.05
_RIGHT_IN: Final = 0.2
_TOP_AND_BOTTOM_IN: Final = (1.15, 0.7)
_SMALL_TOP_AND_BOTTOM_IN: Final = (0.35, 0.5)
# A column and a line of the legend of small ones [inch].
_LEGEND_IN: Final = (2.2, 0.22)
_SMALL_DATES: Final = 6
# From the panels to the middle of their labels [inch].
_LABELS_IN: Final = 0.6
_TITLE_POINTS: Final = 13
_SMALL_TITLE_POINTS: Final = 10
_POINTS_PER_INCH: Final = 72
_WARNING: Final = "#B00000"
_SETTINGS: Final[Any] = {
    # Keep text as text, and give the same file for the same states.
    "svg.fonttype": "none",
    "svg.hashsalt": "marketstate",
    "hatch.linewidth": 0.5,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 9,
}


def figure_bytes(many: Sequence[Series], kind: str, *, small: bool = False) -> bytes:
    """A PNG or an SVG (`kind`) with the symbols in a grid."""
    target = io.BytesIO()
    fonts = fonts_for(shown(series.symbol) for series in many)
    settings = _SETTINGS | {"font.family": fonts} | ({"font.size": 8} if small else {})
    with mpl.rc_context(settings), warnings.catch_warnings():
        # The text in an SVG is drawn by its reader, with fonts that may have these letters.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        names = [shown(series.symbol) for series in many]
        if kind != "svg":
            names = [with_letters_of(fonts, name) for name in names]
        figure = _small_multiples(many, names) if small else _whole(many, names)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        metadata = nothing if kind == "svg" else {"Software": None}
        figure.savefig(target, format=kind, metadata=metadata)
    return target.getvalue()


def _whole(many: Sequence[Series], names: Sequence[str]) -> Figure:
    size_in = _ALONE_IN if len(many) == 1 else _IN_GRID_IN
    columns = math.ceil(math.sqrt(len(many)))
    figure, parts = _grid(len(many), columns, size_in, above_in=0)
    for part, series, name in zip(parts, many, names, strict=False):
        _draw(part, series, name, size_in)
    return figure


def _small_multiples(many: Sequence[Series], names: Sequence[str]) -> Figure:
    """Sigma has the same scale in all of them."""
    columns = min(len(many), math.ceil(math.sqrt(0.7 * len(many))))
    handles = legend(many)
    across = min(len(handles), int(columns * _SMALL_IN[0] / _LEGEND_IN[0]))
    above_in = (1 + math.ceil(len(handles) / across)) * _LEGEND_IN[1]
    figure, parts = _grid(len(many), columns, _SMALL_IN, above_in)
    panels = [
        _draw_small(part, series, name)
        for part, series, name in zip(parts, many, names, strict=False)
    ]
    highest = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, highest)
    figure.legend(handles=handles, ncols=across, loc="upper left", frameon=False)
    return figure


def _grid(
    count: int, columns: int, size_in: tuple[float, float], above_in: float
) -> tuple[Figure, Sequence[SubFigure]]:
    rows = math.ceil(count / columns)
    height_in = above_in + rows * size_in[1]
    figure = Figure(figsize=(columns * size_in[0], height_in), dpi=_DOTS_PER_INCH)
    below: Figure | SubFigure = figure
    if above_in:
        heights = (above_in, height_in - above_in)
        _, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    return figure, list(below.subfigures(rows, columns, squeeze=False).flat)


def _draw(part: SubFigure, series: Series, name: str, size_in: tuple[float, float]) -> None:
    width_in, height_in = size_in
    _title(part, series, name, size_in, _TITLE_POINTS)
    lines = "\n".join((series.described(), "; ".join(series.remarks())))
    part.text(0.5, 1 - 0.45 / height_in, lines, ha="center", va="top", parse_math=False)
    panels = part.subplots(
        5, 1, sharex=True, gridspec_kw={"height_ratios": (2.5, 1.15, 1.15, 1.15, 1.5)}
    )
    drawing = _drawing(part, series, size_in, _TOP_AND_BOTTOM_IN)
    price, sigma, mu, ts, probs = panels
    drawing.price(price)
    drawing.sigma(sigma)
    drawing.mu(mu)
    drawing.ts(ts)
    drawing.probabilities(probs)
    drawing.mark(panels)
    handles = legend([series])
    price.legend(
        handles=handles,
        ncols=len(handles),
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        frameon=False,
    )
    for axes in panels:
        # Aligned, without measuring the ticks of all panels for each of them.
        axes.yaxis.set_label_coords(-_LABELS_IN / (width_in - _LEFT_IN - _RIGHT_IN), 0.5)
    drawing.time(probs)


def _draw_small(part: SubFigure, series: Series, name: str) -> Axes:
    """Returns the panel of sigma."""
    _title(part, series, name, _SMALL_IN, _SMALL_TITLE_POINTS)
    price: Axes
    sigma: Axes
    price, sigma = part.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (1.6, 1)})
    drawing = _drawing(part, series, _SMALL_IN, _SMALL_TOP_AND_BOTTOM_IN)
    drawing.price(price)
    drawing.sigma(sigma)
    drawing.mark([price, sigma])
    drawing.time(sigma, _SMALL_DATES)
    for axes in (price, sigma):
        axes.yaxis.set_label_coords(-_LABELS_IN / (_SMALL_IN[0] - _LEFT_IN - _RIGHT_IN), 0.5)
    return sigma


def _title(
    part: SubFigure, series: Series, name: str, size_in: tuple[float, float], points: int
) -> None:
    # A letter is at most as wide as it is high.
    name = shortened(name, int(0.95 * size_in[0] * _POINTS_PER_INCH / points))
    title, colour = (f"{TITLE}: {name}", _WARNING) if series.synthetic else (name, "black")
    above: Any = {"fontsize": points, "color": colour, "y": 1 - 0.15 / size_in[1]}
    part.suptitle(title, parse_math=False, **above)


def _drawing(
    part: SubFigure,
    series: Series,
    size_in: tuple[float, float],
    above_and_below_in: tuple[float, float],
) -> Drawing:
    """With the margins of the panels set."""
    width_in, height_in = size_in
    top_in, bottom_in = above_and_below_in
    part.subplots_adjust(
        left=_LEFT_IN / width_in,
        right=1 - _RIGHT_IN / width_in,
        top=1 - top_in / height_in,
        bottom=bottom_in / height_in,
        hspace=0.1,
    )
    return Drawing(series, round((width_in - _LEFT_IN - _RIGHT_IN) * _DOTS_PER_INCH))
