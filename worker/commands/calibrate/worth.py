"""What fitted weights are worth: each part of the history judged by weights from before it."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from marketstate.core.theta import DEFAULT_THETA, Theta
from marketstate.worker.commands.calibrate.judged import Judged
from marketstate.worker.commands.calibrate.likelihood import fitted, log_probabilities
from marketstate.worker.commands.calibrate.scores import (
    FEWEST_BLOCKS,
    Bin,
    Blocks,
    Estimate,
    brier_scores,
    log_losses,
    reliability,
)
from marketstate.worker.commands.calibrate.walk_forward import folds
from marketstate.worker.commands.calibrate.weights import weights_in
from marketstate.worker.commands.plot.series import DAY_MS
from marketstate.worker.commands.progress_bar import ProgressBar
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.errors import ConfigurationError

Floats = NDArray[np.float64]


class Comparison(NamedTuple):
    """What one way to give probabilities scored, the lower the better; and how much better the
    fitted weights were.
    """

    name: str
    log_loss: float
    brier: float
    log_loss_gain: Estimate
    brier_gain: Estimate


class Worth(NamedTuple):
    """Of weights that were fitted on the past, judged on what came later."""

    log_loss: float
    brier: float
    base_rates: Comparison
    in_use: Comparison
    """The theta of the settings."""
    reliability: list[Bin]
    followed: Floats
    """The shares of what followed."""
    states: int
    folds: int
    blocks: int
    days_in_block: int

    @property
    def is_skill(self) -> bool:
        """Better than base rates, by more than chance would explain, over enough days."""
        return self.blocks >= FEWEST_BLOCKS and self.base_rates.log_loss_gain.low > 0


def worth_of(states: Judged, theta: Theta, count: int, embargo_ms: int, span_ms: int) -> Worth:
    """`span_ms` is how long a state and what followed it last together: a block is of as many whole
    days, or of one. Raises ConfigurationError if there are too few states for the folds.
    """
    size = len(states.followed)
    ours, base = (np.full((len(REGIMES), size), np.nan) for _ in range(2))
    bar = ProgressBar(count, "folds")
    done = 0
    for done, fold in enumerate(folds(states.times_ms, states.ends_ms, count, embargo_ms), start=1):
        past = states.followed[fold.fitted_on]
        weights = fitted(states.x[:, :, fold.fitted_on], past)
        ours[:, fold.judged_on] = log_probabilities(states.x[:, :, fold.judged_on], weights)
        # One more of each, so that what has not happened yet is not impossible.
        rates = (np.bincount(past, minlength=len(REGIMES)) + 1) / (len(past) + len(REGIMES))
        base[:, fold.judged_on] = np.log(rates)[:, np.newaxis]
        bar.show(done)
    bar.end()
    if done < count:
        raise ConfigurationError(
            f"{size:,} states are too few for {count} folds with {embargo_ms / 60_000:g} minutes "
            "between what is fitted on and what is judged; use more candles"
        )
    later = ~np.isnan(ours[0])
    days = max(1, -(-span_ms // DAY_MS))
    blocks = Blocks(states.times_ms[later] // (days * DAY_MS))
    followed = states.followed[later]
    fit = _Losses.of(ours[:, later], followed)
    in_use = log_probabilities(states.x[:, :, later], weights_in(theta))
    return Worth(
        float(fit.log_loss.mean()),
        float(fit.brier.mean()),
        fit.compared_with("base rates", _Losses.of(base[:, later], followed), blocks),
        fit.compared_with(_name_of(theta), _Losses.of(in_use, followed), blocks),
        list(reliability(ours[:, later], followed, blocks)),
        np.bincount(followed, minlength=len(REGIMES)) / len(followed),
        len(followed),
        count,
        blocks.count,
        days,
    )


def _name_of(theta: Theta) -> str:
    return "default theta" if theta == DEFAULT_THETA else "theta in use"


class _Losses(NamedTuple):
    """Of each state."""

    log_loss: Floats
    brier: Floats

    @classmethod
    def of(cls, logs: Floats, followed: NDArray[np.int64]) -> Self:
        return cls(log_losses(logs, followed), brier_scores(logs, followed))

    def compared_with(self, name: str, other: "_Losses", blocks: Blocks) -> Comparison:
        return Comparison(
            name,
            float(other.log_loss.mean()),
            float(other.brier.mean()),
            blocks.mean(other.log_loss - self.log_loss),
            blocks.mean(other.brier - self.brier),
        )
