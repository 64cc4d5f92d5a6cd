"""The picture of core/README.md: why equal weights favour chop, and which regime has which share.

python -m tests.support.score_picture
"""

import io
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from marketstate.core.regime import regime_scores
from marketstate.core.state import NAMES, MarketState
from marketstate.core.theta import DEFAULT_THETA, Theta
from marketstate.worker.setting_files import theta_from
from tests.support.regime_walks import random_walk

ROOT: Final = Path(__file__).parents[2]
PICTURE: Final = ROOT / "core/pictures/scores.png"
CALIBRATED: Final = ROOT / "deploy/theta/shares-20-20-60.json"
COLOURS: Final = {"trend": "#0072B2", "mr": "#E69F00", "chop": "#999999"}
PALE: Final = ListedColormap(["#b8d9ec", "#f8e0ae", "#dedede"])
DP: Final = 0.5
WALKS: Final = 1_000


def main() -> None:
    figure = Figure(figsize=(11, 3.6), dpi=90, layout="constrained")
    scores, default, calibrated = figure.subplots(1, 3)
    _draw_scores(scores)
    walks = np.exp([np.cumsum(random_walk(300, seed)) for seed in range(WALKS)])
    rows = MarketState().rows(walks)
    assert rows is not None
    ts, vr = (rows[:, NAMES.index(name)] for name in ("ts", "vr"))
    of_file = theta_from("picture", str(CALIBRATED))
    _draw_regimes(default, DEFAULT_THETA, (1.0, 0.0, 2.6))
    _draw_regimes(calibrated, of_file, (0.4, 0.4, 1.6))
    for axes, title in ((default, "all weights 1"), (calibrated, CALIBRATED.name)):
        axes.plot(ts, vr, ".", color="black", markersize=1.5, alpha=0.5)
        axes.set_title(f"likeliest regime, {title}\ndots: random walks", fontsize=9)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    PICTURE.parent.mkdir(exist_ok=True)
    with Image.open(content) as picture:
        picture.convert("RGB").quantize(48).save(PICTURE, optimize=True)


def _draw_scores(axes: Any) -> None:
    ts = np.linspace(0, 1, 101)
    found = np.array([regime_scores(x, DP, 1.0, DEFAULT_THETA["regime"]["score"]) for x in ts])
    for name, values in zip(COLOURS, found.T, strict=True):
        axes.plot(ts, values, color=COLOURS[name], linewidth=2)
        axes.annotate(name, (0.02, values[0] - 0.18), color=COLOURS[name], fontsize=9)
    axes.set_title(f"scores with all weights 1\nat vr 1 and dp {DP}", fontsize=9)
    axes.set_xlabel("ts")
    axes.grid(alpha=0.3)


def _draw_regimes(axes: Any, theta: Theta, limits: tuple[float, float, float]) -> None:
    """`limits` are the highest ts, and the lowest and the highest vr."""
    ts, vr = np.linspace(0, limits[0], 201), np.linspace(*limits[1:], 261)
    scores = [
        [regime_scores(x, DP, y, theta["regime"]["score"]) for x in ts.tolist()]
        for y in vr.tolist()
    ]
    likeliest = np.argmax(scores, axis=2)
    axes.pcolormesh(ts, vr, likeliest, cmap=PALE, vmin=0, vmax=2, rasterized=True)
    axes.set(xlabel="ts", ylabel="vr", xlim=(0, limits[0]), ylim=limits[1:])
    for number, name in enumerate(COLOURS):
        rows, columns = np.nonzero(likeliest == number)
        place = ts[int(np.median(columns))], vr[int(np.quantile(rows, 0.75))]
        axes.annotate(name, place, color=COLOURS[name], fontsize=10, weight="bold", ha="center")


if __name__ == "__main__":
    mpl.use("agg")
    main()
