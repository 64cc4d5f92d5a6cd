"""The states that weights are fitted to and judged on: what the scores see, and what followed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marketstate.core.theta import Theta
from marketstate.worker.commands.calibrate.followed import UNKNOWN, what_followed
from marketstate.worker.commands.calibrate.likelihood import terms
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.errors import ConfigurationError

Floats = NDArray[np.float64]


class Judged(NamedTuple):
    """The states of all symbols after which enough candles followed."""

    x: Floats
    followed: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    ends_ms: NDArray[np.int64]


def judged(many: Sequence[Series], ahead: int, theta: Theta) -> Judged:
    """Raises ConfigurationError if no state has enough candles after it."""
    parts = []
    for series in many:
        followed = what_followed(series, ahead, theta)
        (known,) = np.nonzero(followed != UNKNOWN)
        ends_ms = series.times_ms[known + ahead]
        parts.append(
            (terms_of(series)[:, :, known], followed[known], series.times_ms[known], ends_ms)
        )
    x, *others = zip(*parts, strict=True)
    followed, times_ms, ends_ms = (np.concatenate(each) for each in others)
    found = Judged(np.concatenate(x, axis=2), followed, times_ms, ends_ms)
    if not len(found.followed):
        raise ConfigurationError(
            f"no state is followed by {ahead} candles without a gap; use more candles, or a "
            "smaller --ahead"
        )
    return found


def terms_of(series: Series) -> Floats:
    return terms(*(series.numbers[name] for name in ("ts", "dp", "vr")))
