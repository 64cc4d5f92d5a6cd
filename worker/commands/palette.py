"""The colours of the regimes, which also people tell apart who do not see red and green.

They are those of Okabe and Ito. `plot`, its page and the dashboard of deploy/grafana have the same;
tests/unit/test_palette.py compares them.
"""

from typing import Final

REGIMES: Final = {"trend": "#0072B2", "mr": "#E69F00", "chop": "#999999"}
ON_DARK: Final = {"trend": "#56B4E9", "mr": "#F0B840", "chop": "#8A8A8A"}
"""The same on a dark background."""
LACKING: Final = "#D55E00"
"""Where something is missing or wrong."""
FURTHER: Final = ("#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#000000")
"""For what is no regime, in pictures that need more of them."""
