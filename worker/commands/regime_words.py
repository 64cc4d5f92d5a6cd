"""What every view says of the regimes: what their names mean here, and that one never changed."""

from typing import Final

from marketstate.core.theta import Theta

REGIMES: Final = ("trend", "mr", "chop")
"""In the order of the scores."""


def what_regimes_are(theta: Theta) -> str:
    window = theta["regime"]["window"]
    return f"trend, mr and chop describe the last {window} returns; they are no forecast"


def throughout(regime: str) -> str:
    return f"{regime} throughout: see marketstate calibrate"
