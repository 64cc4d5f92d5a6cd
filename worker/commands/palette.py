"""The colours of pictures and pages, which also people tell apart who do not see red and green.

Those of the regimes are of Okabe and Ito. `plot`, its page, the live page and the dashboard of
deploy/grafana have the same; tests/unit/test_palette.py compares them.
"""

from collections.abc import Mapping
from typing import Final

REGIMES: Final = {"trend": "#0072B2", "mr": "#E69F00", "chop": "#999999"}
ON_DARK: Final = {"trend": "#56B4E9", "mr": "#F0B840", "chop": "#8A8A8A"}
"""The same on a dark background."""
LACKING: Final = "#D55E00"
"""Where something is missing or wrong."""
FURTHER: Final = ("#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#000000")
"""For what is no regime, in pictures that need more of them."""

LIGHT_PAGE: Final = {
    **{"paper": "#FFFFFF", "bar": "#F4F6F8", "hover": "#EBF0F5", "chosen": "#DCEAF7"},
    **{"ink": "#1B1F24", "soft": "#57606A", "faint": "#DCE1E6", "edge": "#7F8891"},
    **{"focus": "#0A5CAD", "lacking": LACKING, "on-lacking": "#000000"},
    **{"on-trend": "#FFFFFF", "on-mr": "#000000", "on-chop": "#000000"},
    **REGIMES,
}
"""Texts are `ink` or `soft` on the first four, and `on-X` on X; `faint` is for the lines of a grid,
`edge` for those around what can be used.
"""
DARK_PAGE: Final = {
    **{"paper": "#101317", "bar": "#181C22", "hover": "#1F252C", "chosen": "#1D3147"},
    **{"ink": "#E6E9EC", "soft": "#A0AAB4", "faint": "#2C323A", "edge": "#6B757F"},
    **{"focus": "#79C0FF", "lacking": "#FF8040", "on-lacking": "#000000"},
    **{"on-trend": "#000000", "on-mr": "#000000", "on-chop": "#000000"},
    **ON_DARK,
}


def palette_css() -> str:
    """As variables: those of the system's theme, or of the one in `data-theme` of the root."""
    return "\n".join(
        (
            f":root {{ color-scheme: light; {_variables(LIGHT_PAGE)} }}",
            "@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) "
            f"{{ color-scheme: dark; {_variables(DARK_PAGE)} }} }}",
            f":root[data-theme=dark] {{ color-scheme: dark; {_variables(DARK_PAGE)} }}\n",
        )
    )


def _variables(colours: Mapping[str, str]) -> str:
    return "; ".join(f"--{name}: {colour}" for name, colour in colours.items())
