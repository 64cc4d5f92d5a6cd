"""What followed a state, the folds, the intervals, and whether skill is claimed."""

import tracemalloc
from typing import Any, Final

import numpy as np
import pytest

from marketstate.core.theta import merged_theta
from marketstate.worker.commands.calibrate import followed
from marketstate.worker.commands.calibrate.followed import (
    CHOP,
    MR,
    TREND,
    UNKNOWN,
    bounds,
    what_followed,
)
from marketstate.worker.commands.calibrate.judged import judged
from marketstate.worker.commands.calibrate.likelihood import fitted, log_probabilities
from marketstate.worker.commands.calibrate.scores import FEWEST_BLOCKS, Blocks, log_losses
from marketstate.worker.commands.calibrate.walk_forward import folds
from marketstate.worker.commands.plot.series import Series, of_candles
from tests.support.no_skill import AHEAD, FOLDS, worth_of_returns
from tests.support.regime_walks import Floats, candles_of, random_walk, regime_walk

THETA: Final = merged_theta()
WALK: Final = random_walk(3_000, 1)
MINUTE_MS: Final = 60_000
N: Final = np.arange(400)


def series_of(returns: Floats, lost: range = range(0)) -> Series:
    candles = [one for i, one in enumerate(candles_of({"X": returns})) if i not in lost]
    return of_candles(candles, THETA, None, lambda _last, _next: False)["X"]


@pytest.mark.parametrize(
    ("returns", "expected"),
    [
        (np.full(400, 0.001), TREND),
        (np.full(400, -0.001), TREND),
        (np.where(N % 2, 0.001, -0.001), MR),
        (np.zeros(400), CHOP),
    ],
)
def test_what_followed_is_what_its_name_says(returns: Floats, expected: int) -> None:
    found = what_followed(series_of(returns), AHEAD, THETA).tolist()
    assert found == (len(found) - AHEAD) * [expected] + AHEAD * [UNKNOWN]


def test_one_random_walk_in_five_passes_each_bound() -> None:
    limits = bounds(AHEAD, 5, 1e-12)
    assert limits.net_move == pytest.approx(1.28, abs=0.02), "that of a normal distribution"
    found = what_followed(series_of(random_walk(30_000, 2)), AHEAD, THETA)[:-AHEAD]
    shares = np.bincount(found, minlength=3) / len(found)
    assert shares[TREND] == pytest.approx(0.2, abs=0.03)
    assert shares[MR] == pytest.approx(0.17, abs=0.03), "of those that are no trend"


def test_a_long_look_ahead_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    series, ahead = series_of(random_walk(3_000, 3)), 1_000
    tracemalloc.start()
    found = what_followed(series, ahead, THETA)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 60e6
    monkeypatch.setattr(followed, "_AT_A_TIME", 77_777)
    bounds.cache_clear()
    assert what_followed(series, ahead, THETA).tolist() == found.tolist()


def test_what_followed_is_unknown_where_candles_are_missing() -> None:
    found = what_followed(series_of(WALK[:1_000], lost=range(600, 603)), AHEAD, THETA)
    # The state after candle 599 is the last one before the gap.
    first = 600 - 257 + 1 - AHEAD
    assert (found[:first] != UNKNOWN).all()
    assert (found[first : first + AHEAD - 1] == UNKNOWN).all()
    assert found[first + AHEAD] != UNKNOWN


def test_a_fold_is_fitted_on_what_was_known_well_before() -> None:
    times_ms = np.arange(1_000) * MINUTE_MS
    ends_ms = times_ms + AHEAD * MINUTE_MS
    found = list(folds(times_ms, ends_ms, 4, AHEAD * MINUTE_MS))
    assert len(found) == 4
    assert np.sum([fold.judged_on for fold in found], axis=0).tolist() == 200 * [0] + 800 * [1]
    for fold in found:
        last_known_ms, first_ms = ends_ms[fold.fitted_on].max(), times_ms[fold.judged_on].min()
        assert first_ms - last_known_ms == pytest.approx((AHEAD + 1) * MINUTE_MS, abs=MINUTE_MS)


@pytest.mark.parametrize("number", range(FOLDS))
def test_a_fold_never_sees_its_future(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other prices from its first judged state on change none of its weights. What followed a state
    before it reaches over that time, and would change them.
    """
    seen: list[bytes] = []

    def noted(*arguments: Any) -> Any:
        weights = fitted(*arguments)
        seen.append(weights.tobytes())
        return weights

    monkeypatch.setattr("marketstate.worker.commands.calibrate.worth.fitted", noted)
    walk = WALK
    first = 256 + (number + 1) * (len(walk) - 256 - AHEAD) // (FOLDS + 1)
    for returns in (walk, np.concatenate((walk[:first], -3 * walk[first:]))):
        worth_of_returns({"X": returns})
    before, after = seen[:FOLDS], seen[FOLDS:]
    assert after[: number + 1] == before[: number + 1]
    assert not set(after[number + 1 :]) & set(before)


def test_intervals_are_over_blocks_and_not_over_states() -> None:
    of_block = np.random.RandomState(3).standard_normal(100)
    found = Blocks(np.repeat(np.arange(100), 50)).mean(np.repeat(of_block, 50))
    assert found.value == pytest.approx(of_block.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * of_block.std() / 10, rel=0.1)


def test_states_of_one_block_have_no_interval() -> None:
    found = Blocks(np.arange(100) // 10).mean(np.ones(100), np.arange(100) < 10)
    assert (found.value, np.isnan(found.low), np.isnan(found.high)) == (1, True, True)


def test_no_skill_is_claimed_for_a_random_walk() -> None:
    """`python -m tests.support.no_skill` draws a hundred of them."""
    found = worth_of_returns({"X": random_walk(20_000, 2)})
    assert found.blocks >= FEWEST_BLOCKS
    assert not found.is_skill


def test_weights_are_as_good_on_a_series_that_they_have_not_seen() -> None:
    fit, other = (judged([series_of(regime_walk(12_000, seed))], AHEAD, THETA) for seed in (2, 9))
    logs = log_probabilities(other.x, fitted(fit.x, fit.followed))
    rates = np.log(np.bincount(fit.followed) / len(fit.followed))
    gains = log_losses(
        np.repeat(rates[:, np.newaxis], len(other.followed), axis=1), other.followed
    ) - log_losses(logs, other.followed)
    assert Blocks(other.times_ms // 86_400_000).mean(gains).low > 0.05


def test_a_gain_that_may_be_chance_is_no_skill() -> None:
    found = worth_of_returns({"X": random_walk(20_000, 20)})
    gain = found.base_rates.log_loss_gain
    assert (gain.value > 0 > gain.low, found.is_skill) == (True, False)


def test_a_fit_that_rounding_ends_is_a_fit() -> None:
    assert not worth_of_returns({"X": random_walk(20_000, 7)}).is_skill


def test_a_few_days_never_have_skill() -> None:
    found = worth_of_returns({"X": regime_walk(10_000, 2)})
    assert found.base_rates.log_loss_gain.low > 0
    assert (found.blocks < FEWEST_BLOCKS, found.is_skill) == (True, False)
