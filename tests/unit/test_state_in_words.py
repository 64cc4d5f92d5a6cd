"""The sentences of `marketstate state` at the edges, each with a window that leads there."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest

from marketstate.core.state import MarketState
from marketstate.core.theta import DEFAULT_THETA
from marketstate.worker.commands.state_in_words import reading

FLOOR: Final = DEFAULT_THETA["vol"]["sigma_floor"]
N: Final = np.arange(300)
RNG: Final = np.random.RandomState(3)
STEPS: Final = RNG.standard_normal(300) * 0.001
SELDOM: Final = 100 * np.exp(np.cumsum(np.where(RNG.random_sample(300) < 0.1, STEPS, 0.0)))

FLAT: Final = np.full(300, 1.0)
ZIGZAG: Final = np.where(N % 2, 100.1, 100.0)
EQUAL_STEPS: Final = 100 * 1.001**N
TINY_STEPS: Final = 1 + 1e-9 * N
TINY_NOISE: Final = 1 + 1e-7 * RNG.randint(-1, 2, 300)
JUMPS: Final = np.where(N // 60 % 2, 101.0, 100.0)
TURNING: Final = 100 * np.exp(0.001 * np.abs(N % 200 - 100))
LATER_FLAT: Final = np.concatenate((ZIGZAG[:200], np.full(100, 100.0)))
CYCLE_OF_5: Final = 100 * np.exp(np.cumsum(np.array([1, -2, 3, -1, -1])[N % 5] * 0.001))
ONLY_UP: Final = 100 * np.exp(np.cumsum(np.abs(STEPS)))
STAIRS: Final = 100 * np.exp(np.cumsum(np.where(N % 20, 0.0, 0.0004)))

SPIKE: Final = "recent moves are more than twice as large as usual"
NO_SIZE: Final = "at least half of the moves are alike"
CANCEL: Final = "cancel each other"
WALK: Final = "close to a random walk"
SAYS_NOTHING: Final = "the moves hardly vary, so it says nothing here"


def words(prices: npt.NDArray[np.float64]) -> str:
    state: Any = MarketState().get_state("X", prices)
    return "\n".join(reading(state, FLOOR))


@pytest.mark.parametrize(
    ("prices", "says", "never"),
    [
        (FLAT, "No regime stands out (trend 33%, mr 33%, chop 33%)", "Most likely"),
        (FLAT, "Most moves are next to nothing: sigma is at its floor, 0.0001%", "typical move"),
        (FLAT, "The price does not drift: mu is 0 (ts 0.00).", "drifts"),
        (FLAT, "dp 100%; an unchanged price is a sign, too", "chance"),
        (FLAT, SAYS_NOTHING, CANCEL),
        (FLAT, NO_SIZE, SPIKE),
        (ZIGZAG, "Every move has another sign than the one before (dp 0%", "0% of"),
        (ZIGZAG, "Most likely chop (55%): no drift stands out, but this is not a random", WALK),
        (ZIGZAG, "(vr): successive moves almost cancel each other", "partly"),
        (ZIGZAG, "The price does not drift", "nowhere"),
        (CYCLE_OF_5, "(trend 9%, mr 45%, chop 45%): the likeliest have nearly equal", "Most"),
        (CYCLE_OF_5, "A variance ratio of 0.00 (vr): successive moves almost", SAYS_NOTHING),
        (EQUAL_STEPS, "+0.1% per candle (mu): stronger than the noise", "does not drift"),
        (EQUAL_STEPS, "Every move has the sign of the one before (dp 100%", "100% of"),
        (EQUAL_STEPS, SAYS_NOTHING, CANCEL),
        (EQUAL_STEPS, NO_SIZE, SPIKE),
        (TINY_STEPS, "drifts up, +1e-07% per candle (mu): lost in the noise", "+0.0000%"),
        (TINY_NOISE, "Most likely chop (46%): the price hardly moves", "vr is far from 1"),
        (TINY_NOISE, SAYS_NOTHING, CANCEL),
        (JUMPS, "sigma is at its floor", "typical move"),
        (JUMPS, "moves look independent of each other", SAYS_NOTHING),
        (TURNING, "vr is above 1 (momentum)", "swings around a mean"),
        (TURNING, "Over 99% of successive moves have the same sign", "Every move"),
        (TURNING, "successive moves reinforce each other", CANCEL),
        (SELDOM, NO_SIZE, SPIKE),
        (SELDOM, "of successive moves have the same sign (dp; an unchanged", "chance gives"),
        (LATER_FLAT, "A spike_proxy of 5.00: recent moves are smaller than usual", SPIKE),
        (
            ONLY_UP,
            "Every move has the sign of the one before (dp 100%; chance gives 50%)",
            SAYS_NOTHING,
        ),
        (STAIRS, "an unchanged price counts as a way, too", "keeps its direction"),
    ],
)
def test_at_the_edges_the_words_agree_with_the_numbers(
    prices: npt.NDArray[np.float64], says: str, never: str
) -> None:
    text = words(prices)
    assert says in text
    assert never not in text


def test_a_small_sigma_is_shown_with_three_digits_that_count() -> None:
    assert "A typical move is 0.0313% per candle (sigma)." in words(SELDOM)


def test_a_floor_of_another_theta_is_recognised() -> None:
    state: Any = MarketState({"vol": {"sigma_floor": 0.01}}).get_state("X", ZIGZAG)
    assert "sigma is at its floor, 1%." in "\n".join(reading(state, 0.01))


@pytest.mark.parametrize(
    ("score", "says"),
    [
        ({"a1": 99.0, "a2": 9.0}, "Most likely trend (100%): its score is the highest, though the"),
        ({"b1": 99.0, "b3": -9.0}, "though vr is near 1 (1.09), as in a random walk"),
        ({"c1": 99.0}, "Most likely chop (100%): close to a random walk"),
    ],
)
def test_a_regime_that_other_weights_choose_is_not_said_to_be_what_its_figures_deny(
    score: dict[str, float], says: str
) -> None:
    walk = 100 * np.exp(np.cumsum(STEPS))
    state: Any = MarketState({"regime": {"score": score}}).get_state("X", walk)
    assert state["ts"] < 0.3
    assert says in "\n".join(reading(state, FLOOR))


def test_a_clear_drift_is_not_called_a_random_walk() -> None:
    drifting = 100 * np.exp(np.cumsum(STEPS + 0.0004))
    state: Any = MarketState({"regime": {"score": {"c1": 9.0}}}).get_state("X", drifting)
    text = "\n".join(reading(state, FLOOR))
    assert "Most likely chop (96%): its score is the highest, though the drift is clear." in text
    assert "clear against the noise" in text
