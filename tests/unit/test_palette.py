"""One palette for all pictures, and whether everybody can tell its colours apart."""

import json
import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from marketstate.worker.commands.palette import FURTHER, LACKING, ON_DARK, REGIMES
from tests.support.documents import ROOT

# What somebody sees who lacks the cones for red (protan) or for green (deutan), from linear RGB:
# Viénot, Brettel and Mollon 1999.
SEEN = {
    "everybody": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
WHITE = np.array([0.9505, 1.0, 1.089])
# CIE76; about 2 is just noticeable side by side.
CLEARLY_APART = 20


def lab(colour: str, eye: str) -> Any:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array(TO_XYZ) @ np.clip(np.array(SEEN[eye]) @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", SEEN)
@pytest.mark.parametrize("colours", [REGIMES, ON_DARK])
def test_regimes_are_apart_for_every_eye(colours: dict[str, str], eye: str) -> None:
    for one, other in combinations(colours.values(), 2):
        assert np.linalg.norm(lab(one, eye) - lab(other, eye)) > CLEARLY_APART, (one, other)


def test_the_page_of_a_plot_has_these_colours() -> None:
    css = (ROOT / "worker/commands/page.css").read_text().upper()
    light, dark = (dict(re.findall(r"--(\w+): (#\w+)", part)) for part in css.split("@MEDIA")[:2])
    full = {
        name: f"#{value[1:] * 2}" if len(value) == 4 else value for name, value in light.items()
    }
    assert {name.lower(): full[name] for name in ("TREND", "MR")} == {
        name: REGIMES[name] for name in ("trend", "mr")
    }
    assert full["LACKING"] == LACKING
    assert (full["CHOP"], dark["CHOP"]) == (REGIMES["chop"], ON_DARK["chop"])
    assert {name.lower(): dark[name] for name in ("TREND", "MR")} == {
        name: ON_DARK[name] for name in ("trend", "mr")
    }


def test_the_dashboard_has_these_colours() -> None:
    text = (ROOT / "deploy/grafana/marketstate.json").read_text()
    coloured = [
        (override["matcher"]["options"], override["properties"][0]["value"]["fixedColor"])
        for panel in json.loads(text)["panels"]
        for override in panel.get("fieldConfig", {}).get("overrides", ())
    ]
    assert {(name, colour) for name, colour in coloured if name in REGIMES} == set(REGIMES.items())
    known = {*REGIMES.values(), LACKING, *FURTHER}
    assert set(re.findall(r"#[0-9A-Fa-f]{6}", text)) <= known
