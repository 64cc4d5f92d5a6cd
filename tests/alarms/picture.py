"""A picture of the dashboard from the numbers in a Prometheus, for deploy/grafana/README.md.

It is drawn from the same file that Grafana reads: panels, queries, colours.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from marketstate.worker.commands.palette import FURTHER
from tests.alarms.prometheus import Prometheus
from tests.support.dashboard import DASHBOARD, filled_in

SYMBOL: Final = "SOLUSDT"
MOST_IN_LEGEND: Final = 8
COLUMNS: Final = 24
ROW_IN: Final = 0.27
WIDTH_IN: Final = 14.0
COLOURS: Final = 64


def draw(prometheus: Prometheus, start_s: float, end_s: float, path: Path) -> None:
    panels = DASHBOARD["panels"]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(WIDTH_IN, rows * ROW_IN), dpi=90)
    for panel in panels:
        place = panel["gridPos"]
        left, width = place["x"] / COLUMNS, place["w"] / COLUMNS
        bottom, height = 1 - (place["y"] + place["h"]) / rows, place["h"] / rows
        if panel["type"] == "row":
            title = panel["title"].replace("$symbol", SYMBOL)
            figure.text(left + 0.005, bottom + height / 2, title, weight="bold", va="center")
            continue
        is_stat = panel["type"] == "stat"
        inner = (0.01, 0.1, 0.98, 0.8) if is_stat else (0.11, 0.2, 0.86, 0.66)
        x, y, w, h = inner
        axes = figure.add_axes((left + x * width, bottom + y * height, w * width, h * height))
        if is_stat:
            _draw_stat(axes, panel, prometheus)
        else:
            _draw_lines(axes, panel, _histories(panel, prometheus, start_s, end_s))
            axes.set_xlim(0, end_s - start_s)
    figure.savefig(path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)


def _draw_stat(axes: Axes, panel: Mapping[str, Any], prometheus: Prometheus) -> None:
    (target,) = panel["targets"]
    (found,) = prometheus.values(filled_in(target["expr"], SYMBOL))
    value = float(found["value"][1])
    defaults = panel["fieldConfig"]["defaults"]
    steps = defaults["thresholds"]["steps"]
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    texts = [each["options"] for each in defaults.get("mappings", ())]
    shown = _with_unit(value, defaults["unit"])
    if texts:
        shown = texts[0][f"{value:g}"]["text"]
    axes.set_facecolor(reached[-1]["color"])
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.4, shown, color="white", ha="center", va="center", fontsize=20)
    axes.text(0.02, 0.95, panel["title"], color="white", va="top", fontsize=9)


def _with_unit(value: float, unit: str) -> str:
    return f"{value:.0%}" if unit == "percentunit" else f"{value:.3g}{' s' if unit == 's' else ''}"


History = tuple[str, list[float], list[float]]
"""Name, seconds since the start, values."""


def _histories(
    panel: Mapping[str, Any], prometheus: Prometheus, start_s: float, end_s: float
) -> list[History]:
    found = []
    for target in panel["targets"]:
        query = filled_in(target["expr"], SYMBOL)
        for series in prometheus.history(query, start_s, end_s):
            name = target["legendFormat"]
            for label in re.findall(r"\{\{(\w+)\}\}", name):
                name = name.replace(f"{{{{{label}}}}}", series["metric"].get(label, ""))
            times, values = zip(*series["values"], strict=True)
            at = [time - start_s for time in times]
            found.append((name.strip(), at, [float(value) for value in values]))
    return found


def _draw_lines(axes: Axes, panel: Mapping[str, Any], histories: list[History]) -> None:
    fixed = {
        one["matcher"]["options"]: one["properties"][0]["value"]["fixedColor"]
        for one in panel["fieldConfig"]["overrides"]
    }
    free = iter(FURTHER * len(histories))
    colours = [fixed.get(name) or next(free) for name, _, _ in histories]
    stacked = "stacking" in panel["fieldConfig"]["defaults"]["custom"]
    below: dict[float, float] = {}
    for (name, times, values), colour in zip(histories, colours, strict=True):
        if stacked:
            low = [below.get(time, 0.0) for time in times]
            high = [lower + value for lower, value in zip(low, values, strict=True)]
            axes.fill_between(times, low, high, color=colour, alpha=0.6, linewidth=0.5, label=name)
            below |= dict(zip(times, high, strict=True))
        else:
            axes.plot(times, values, color=colour, linewidth=1, label=name)
    axes.set_title(f"{panel['title']} (over seconds)", fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    axes.margins(x=0)
    axes.grid(alpha=0.3)
    if 0 < len(histories) <= MOST_IN_LEGEND:
        axes.legend(
            fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.1), frameon=False
        )
