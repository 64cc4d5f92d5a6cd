"""One palette for all pictures, and whether everybody can tell its colours apart."""

import json
import re
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from marketstate.worker.commands.palette import (
    DARK_PAGE,
    FURTHER,
    LACKING,
    LIGHT_PAGE,
    ON_DARK,
    REGIMES,
    palette_css,
)
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


def linear_rgb(colour: str) -> Any:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(colour: str, eye: str) -> Any:
    linear = linear_rgb(colour)
    xyz = np.array(TO_XYZ) @ np.clip(np.array(SEEN[eye]) @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", SEEN)
@pytest.mark.parametrize("colours", [REGIMES, ON_DARK])
def test_regimes_are_apart_for_every_eye(colours: dict[str, str], eye: str) -> None:
    for one, other in combinations(colours.values(), 2):
        assert np.linalg.norm(lab(one, eye) - lab(other, eye)) > CLEARLY_APART, (one, other)


def contrast(one: str, other: str) -> float:
    """As WCAG 2 has it: 1 to 21, and 4.5 or more for text."""
    lighter, darker = sorted((relative_luminance(one), relative_luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def relative_luminance(colour: str) -> float:
    return float(linear_rgb(colour) @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("page", [LIGHT_PAGE, DARK_PAGE])
def test_texts_and_edges_are_clear_on_what_they_stand_on(page: dict[str, str]) -> None:
    texts = [(text, on) for text in ("ink", "soft") for on in ("paper", "bar", "hover", "chosen")]
    texts += [(f"on-{name}", name) for name in (*REGIMES, "lacking")]
    assert {pair for pair in texts if contrast(*(page[name] for name in pair)) < 4.5} == set()
    edges = [(edge, on) for edge in ("edge", "focus") for on in ("paper", "bar")]
    assert {pair for pair in edges if contrast(*(page[name] for name in pair)) < 3} == set()


def test_pages_take_their_colours_from_here_alone() -> None:
    for path in (ROOT / "worker").rglob("*.css"):
        assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(", path.read_text()) == [], path
    for path in (ROOT / "worker").rglob("*.js"):
        assert re.findall(r"#[0-9a-fA-F]{6}\b|rgba?\(", path.read_text()) == [], path
    assert f"--trend: {REGIMES['trend']};" in palette_css()
    assert f"--trend: {ON_DARK['trend']};" in palette_css()


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
