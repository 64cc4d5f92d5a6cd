"""A series of states as the document that scripts in a browser draw."""

from collections.abc import Sequence
from typing import Any, Final

from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.plot.series import DRAWN, Series, quote_currency

_DIGITS: Final = {"close": 8, "trend": 4, "mr": 4, "chop": 4}
_OTHER_DIGITS: Final = 6


def drawn(series: Series) -> dict[str, Any]:
    """For JSON: `regime` are places in `regimes`, and `places` are the times less closed hours."""
    regimes = list(dict.fromkeys(series.regime.tolist()))
    number_of = {regime: number for number, regime in enumerate(regimes)}
    numbers: dict[str, list[float] | list[int]] = {
        name: _rounded(series.numbers[name].tolist(), _DIGITS.get(name, _OTHER_DIGITS))
        for name in DRAWN
    }
    if series.missing.any():
        numbers["missing"] = series.missing.tolist()
    return {
        "unit": quote_currency(shown(series.symbol)),
        "sigma_per": series.sigma_per,
        "step": series.step_ms,
        "times": series.times_ms.tolist(),
        "places": series.closed.left_out(series.times_ms).tolist(),
        "regimes": [shown(regime) for regime in regimes],
        "regime": [number_of[regime] for regime in series.regime.tolist()],
        "numbers": numbers,
    }


def _rounded(values: Sequence[float], digits: int) -> list[float]:
    return [float(f"{value:.{digits}g}") for value in values]
