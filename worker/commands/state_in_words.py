"""What a state means, in plain words, for readers who are new to the numbers.

The bounds between "weak" and "strong" are only used for these texts.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from marketstate.core.regime import regime_of
from marketstate.core.state import State

_REGIMES: Final = {
    "trend": "the price drifts, or keeps its direction, more than chance would explain",
    "mr": "the price swings around a mean: moves turn back more than those of a random walk",
    "chop": "close to a random walk: neither a drift nor a return to a mean stands out",
}
# Instead of the text of mr, whose score grows with the distance of vr from 1 on both sides.
_MOMENTUM: Final = (
    "far from a random walk, but not by returning to a mean: vr is above 1 (momentum), and the "
    "score of mr counts its distance from 1 in either direction"
)
# Instead of the text of chop, whose score also grows when moves change direction.
_NO_WALK: Final = (
    "no drift stands out, but this is not a random walk either: vr is not near 1, and the score "
    "of chop also counts how often moves change direction (dp)"
)
# Instead of the text of trend, when its share comes from moves of nothing at all.
_UNCHANGED: Final = (
    "successive moves go the same way more often than chance would explain, and at least half of "
    "them are alike: an unchanged price counts as a way, too"
)
# Each text applies below its bound.
_Scale = Sequence[tuple[float, str]]
_TRENDS: Final[_Scale] = (
    (0.1, "lost in the noise"),
    (0.3, "weak against the noise"),
    (1.0, "clear against the noise"),
    (float("inf"), "stronger than the noise"),
)
_CLEAR: Final = _TRENDS[1][0]
# The vr of 256 returns of a random walk is from 0.75 to 1.25 more than 9 times in 10.
_RATIOS: Final[_Scale] = (
    (0.25, "successive moves almost cancel each other"),
    (0.75, "successive moves partly cancel each other"),
    (1.25, "apart from any drift, moves look independent of each other"),
    (float("inf"), "successive moves reinforce each other"),
)
_PACES: Final[_Scale] = (
    (
        0.005,
        "at least half of the moves are alike, as when the price stands still or climbs by equal "
        "steps, so they give no usual size to compare recent moves with",
    ),
    (0.5, "recent moves are more than twice as large as usual: a spike, or a strong drift"),
    (1.5, "recent moves are about as large as usual in the window"),
    (float("inf"), "recent moves are smaller than usual in the window"),
)
_ALIKE: Final = _PACES[0][0]
# By chance, dp of 255 pairs is below this 39 of 40 times.
_OFTEN: Final = 0.56
# Probabilities that are shown as whole percents do not differ by less.
_TIE: Final = 0.005


def reading(state: State, sigma_floor: float) -> Iterator[str]:
    """One sentence per line. `sigma_floor` is that of the theta behind the state."""
    features = state["features"]
    at_floor = state["sigma"] <= sigma_floor
    yield f"{_likely(state, at_floor)}."
    yield f"{_typical_move(state['sigma'], at_floor)}."
    yield f"{_drift(state)}."
    yield f"{_persistence(features['dp'], features['spike_proxy'])}."
    yield f"A variance ratio of {features['vr']:.2f} (vr): {_ratio(state, at_floor)}."
    proxy = features["spike_proxy"]
    yield f"A spike_proxy of {proxy:.2f}: {_on(_PACES, proxy)}."


def _likely(state: State, at_floor: bool) -> str:
    probs = state["regime_probs"]
    shares = {"trend": probs["trend"], "mr": probs["mr"], "chop": probs["chop"]}
    second, first = sorted(shares.values())[1:]
    if first - second < _TIE:
        listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        return f"No regime stands out ({listed}): the likeliest have nearly equal scores"
    regime = regime_of(probs)
    return f"Most likely {regime} ({first:.0%}): {_meaning(regime, state, at_floor)}"


def _meaning(regime: str, state: State, at_floor: bool) -> str:
    """What its own figures say; where they do not, only that its score is the highest."""
    vr = state["features"]["vr"]
    is_walk = _RATIOS[1][0] <= vr < _RATIOS[2][0]
    if regime == "trend":
        return _meaning_of_trend(state)
    if regime == "chop":
        return _meaning_of_chop(state, at_floor, is_walk)
    if is_walk:
        return _only_score(f"vr is near 1 ({vr:.2f}), as in a random walk")
    return _MOMENTUM if vr > 1 else _REGIMES["mr"]


def _meaning_of_trend(state: State) -> str:
    features = state["features"]
    if state["ts"] >= _CLEAR:
        return _REGIMES["trend"]
    if features["spike_proxy"] < _ALIKE:
        return _UNCHANGED
    if features["dp"] >= _OFTEN:
        return _REGIMES["trend"]
    return _only_score("the drift is weak, and moves keep their direction as by chance")


def _meaning_of_chop(state: State, at_floor: bool, is_walk: bool) -> str:
    if at_floor:
        return "the price hardly moves"
    if state["ts"] >= _CLEAR:
        return _only_score("the drift is clear")
    return _REGIMES["chop"] if is_walk else _NO_WALK


def _only_score(though: str) -> str:
    """Of a regime that the weights of another theta may choose."""
    return f"its score is the highest, though {though}"


def _typical_move(sigma: float, at_floor: bool) -> str:
    if at_floor:
        return f"Most moves are next to nothing: sigma is at its floor, {_percent(sigma)}"
    return f"A typical move is {_percent(sigma)} per candle (sigma)"


def _drift(state: State) -> str:
    mu, ts = state["mu"], state["ts"]
    if mu == 0:
        return f"The price does not drift: mu is 0 (ts {ts:.2f})"
    sign, direction = ("+", "up") if mu > 0 else ("-", "down")
    return (
        f"The price drifts {direction}, {sign}{_percent(abs(mu))} per candle (mu): "
        f"{_on(_TRENDS, ts)} (ts {ts:.2f})"
    )


def _persistence(dp: float, proxy: float) -> str:
    # Where many moves are 0, chance gives no 50%.
    chance = "an unchanged price is a sign, too" if proxy < _ALIKE else "chance gives 50%"
    share = "over 99%" if 0.99 < dp < 1 else f"{dp:.0%}"
    if dp == 0:
        return f"Every move has another sign than the one before (dp {share}; {chance})"
    if dp == 1:
        return f"Every move has the sign of the one before (dp {share}; {chance})"
    return f"{share.capitalize()} of successive moves have the same sign (dp; {chance})"


def _ratio(state: State, at_floor: bool) -> str:
    features = state["features"]
    equal_steps = features["dp"] == 1 and features["spike_proxy"] < _ALIKE
    if features["vr"] < _RATIOS[0][0] and (at_floor or equal_steps):
        return "the moves hardly vary, so it says nothing here"
    return _on(_RATIOS, features["vr"])


def _percent(share: float) -> str:
    """Three digits that count, however small."""
    return f"{100 * share:.3g}%"


def _on(scale: _Scale, value: float) -> str:
    return next(text for bound, text in scale if value < bound)
