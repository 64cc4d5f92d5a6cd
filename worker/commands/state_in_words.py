"""What a state means, in plain words, for readers who are new to the numbers.

The bounds between "weak" and "strong" are only used for these texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from core.regime import regime_of
from core.state import State

_REGIMES: Final = {
    "trend": "the price drifts, or keeps its direction, more than chance would explain",
    "mr": "the price swings around a mean: far from a random walk",
    "chop": "close to a random walk: neither a drift nor a return to a mean stands out",
}
# Instead of the text of mr, whose score grows with the distance of vr from 1 on both sides.
_MOMENTUM: Final = (
    "far from a random walk, but not by returning to a mean: vr is above 1 (momentum), and the "
    "score of mr counts its distance from 1 in either direction"
)
# Each text applies below its bound.
_Scale = Sequence[tuple[float, str]]
_TRENDS: Final[_Scale] = (
    (0.1, "lost in the noise"),
    (0.3, "weak against the noise"),
    (1.0, "clear against the noise"),
    (float("inf"), "stronger than the noise"),
)
_RATIOS: Final[_Scale] = (
    (0.85, "successive moves partly cancel each other"),
    (1.15, "moves look independent of each other, as in a random walk"),
    (float("inf"), "successive moves reinforce each other"),
)
_PACES: Final[_Scale] = (
    (0.5, "recent moves are more than twice as large as usual: a spike, or a strong drift"),
    (1.5, "recent moves are about as large as usual in the window"),
    (float("inf"), "recent moves are smaller than usual in the window"),
)


def reading(state: State) -> Iterator[str]:
    """One sentence per line."""
    probs, features = state["regime_probs"], state["features"]
    regime = regime_of(probs)
    shares = {"trend": probs["trend"], "mr": probs["mr"], "chop": probs["chop"]}
    yield f"Most likely {regime} ({shares[regime]:.0%}): {_meaning(regime, state)}."
    yield f"A typical move is {state['sigma']:.3%} per candle (sigma)."
    direction = "up" if state["mu"] > 0 else "down" if state["mu"] < 0 else "nowhere"
    yield (
        f"The price drifts {direction}, {state['mu']:+.4%} per candle (mu): "
        f"{_on(_TRENDS, state['ts'])} (ts {state['ts']:.2f})."
    )
    yield f"{features['dp']:.0%} of successive moves have the same sign (dp; chance gives 50%)."
    yield f"A variance ratio of {features['vr']:.2f} (vr): {_on(_RATIOS, features['vr'])}."
    proxy = features["spike_proxy"]
    yield f"A spike_proxy of {proxy:.2f}: {_on(_PACES, proxy)}."


def _meaning(regime: str, state: State) -> str:
    if regime == "mr" and state["features"]["vr"] > 1:
        return _MOMENTUM
    return _REGIMES[regime]


def _on(scale: _Scale, value: float) -> str:
    return next(text for bound, text in scale if value < bound)
