"""What the states of one symbol, or of several together, are like: quantiles and regimes."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketstate.worker.commands.plot.series import DAY_MS, HOUR_MS, Series
from marketstate.worker.commands.regime_words import REGIMES

Floats = NDArray[np.float64]

LEVELS: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_UNITS: Final = {"sigma per hour": HOUR_MS, "sigma per day": DAY_MS}


class Runs(NamedTuple):
    """States in a row that have one regime, with no gap between them."""

    regime: NDArray[np.int64]
    """The place in REGIMES; len(REGIMES) for one of another name."""
    states: NDArray[np.int64]
    """How many."""
    goes_on: NDArray[np.bool_]
    """Whether the next run begins with the next candle: the regime has changed, no gap came."""
    step_ms: int


class RegimeSummary(NamedTuple):
    share: float
    runs: int
    median_s: float
    longest_s: float
    changes_to: dict[str, int]
    """How often another regime followed it."""


class Summary(NamedTuple):
    states: int
    days: float
    """As many as the states are of, without gaps."""
    quantiles: dict[str, Floats]
    """For each quantity its quantiles at LEVELS."""
    regimes: dict[str, RegimeSummary]

    @property
    def changes(self) -> int:
        return sum(sum(regime.changes_to.values()) for regime in self.regimes.values())


def summary_of(many: Sequence[Series]) -> Summary:
    """Each state counts once, whatever its symbol."""
    states = sum(len(series.times_ms) for series in many)
    found = [runs_of(series) for series in many]
    quantities: dict[str, list[Floats]] = {}
    for series in many:
        for name, values in quantities_of(series):
            quantities.setdefault(name, []).append(values)
    return Summary(
        states,
        sum(len(series.times_ms) * series.step_ms for series in many) / DAY_MS,
        {name: np.quantile(np.concatenate(values), LEVELS) for name, values in quantities.items()},
        {regime: _regime_summary(number, found, states) for number, regime in enumerate(REGIMES)},
    )


def quantities_of(series: Series) -> Iterator[tuple[str, Floats]]:
    numbers = series.numbers
    yield "sigma", numbers["sigma"]
    for name, unit_ms in _UNITS.items():
        yield name, series.sigma_for(unit_ms)
    for name in ("mu", "ts", "dp", "vr", "spike_proxy"):
        yield name, numbers[name]
    for regime in REGIMES:
        yield f"p_{regime}", numbers[regime]


def runs_of(series: Series) -> Runs:
    numbers = np.full(len(series.regime), len(REGIMES))
    for number, regime in enumerate(REGIMES):
        numbers[series.regime == regime] = number
    is_next = 2 * np.diff(series.closed.left_out(series.times_ms)) < 3 * series.step_ms
    (ends,) = np.nonzero((np.diff(numbers) != 0) | ~is_next)
    ends = np.append(ends, len(numbers) - 1)
    return Runs(
        numbers[ends],
        np.diff(ends, prepend=-1),
        np.append(is_next, False)[ends],
        series.step_ms,
    )


def _regime_summary(number: int, found: Sequence[Runs], states: int) -> RegimeSummary:
    lengths_s = np.concatenate(
        [runs.states[runs.regime == number] * runs.step_ms / 1_000 for runs in found]
    )
    changes_to = dict.fromkeys(REGIMES, 0)
    for runs in found:
        (ours,) = np.nonzero((runs.regime == number) & runs.goes_on)
        for place in runs.regime[ours + 1].tolist():
            if place < len(REGIMES):
                changes_to[REGIMES[place]] += 1
    of_regime = sum(int(runs.states[runs.regime == number].sum()) for runs in found)
    return RegimeSummary(
        of_regime / states,
        len(lengths_s),
        float(np.median(lengths_s)) if len(lengths_s) else 0.0,
        float(lengths_s.max(initial=0.0)),
        {name: count for name, count in changes_to.items() if name != REGIMES[number]},
    )
