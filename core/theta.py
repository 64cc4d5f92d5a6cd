"""The parameters (theta): defaults, allowed values, merging and hash.

`RULES` is the table of every parameter with its default and allowed values; `RELATIONS` holds the
conditions between parameters. Everything else is derived from the two.
"""

import copy
import difflib
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypedDict, cast


class VolTheta(TypedDict):
    """Parameters of sigma."""

    window: int
    winsor_q_low: float
    winsor_q_high: float
    ewma_lambda: float
    sigma_floor: float
    spike_proxy_cap: float
    spike_center: float
    spike_scale: float


class TrendTheta(TypedDict):
    """Parameters of mu."""

    windows: list[int]
    weights: list[float]
    method: str


class RegimeTheta(TypedDict):
    """Parameters of dp, vr and the regime probabilities."""

    window: int
    vr_k: int
    softmax_temp: float
    score: dict[str, float]


class Theta(TypedDict):
    """The complete set of parameters."""

    eps: float
    vol: VolTheta
    trend: TrendTheta
    regime: RegimeTheta


class ThetaError(ValueError):
    """A parameter that is unknown, of the wrong type, or impossible."""


class Kind(NamedTuple):
    """The values a parameter may take, as text and as a test; `store` normalises a value."""

    allowed: str
    accepts: Callable[[Any], bool]
    store: Callable[[Any], Any]


def _number(allowed: str, accepts: Callable[[float], bool]) -> Kind:
    def is_allowed(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and accepts(value)

    # Adding 0.0 turns -0.0 into 0.0, so that equal values have equal hashes.
    return Kind(f"a number {allowed}", is_allowed, lambda value: float(value) + 0.0)


def _integer(low: int, high: int) -> Kind:
    def is_allowed(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Kind(f"an integer from {low} to {high}", is_allowed, int)


def _list_of(kind: Kind) -> Kind:
    def is_allowed(value: object) -> bool:
        return isinstance(value, list | tuple) and len(value) > 0 and all(map(kind.accepts, value))

    return Kind(
        f"a list, not empty, each item {kind.allowed}",
        is_allowed,
        lambda value: [kind.store(item) for item in value],
    )


# Far outside any realistic use; within these bounds no result can overflow to inf or nan.
_TINY, _HUGE = 1e-100, 1e100
_POSITIVE = _number("> 0, from 1e-100 to 1e100", lambda value: _TINY <= value <= _HUGE)
_NON_NEGATIVE = _number(">= 0, at most 1e100", lambda value: 0 <= value <= _HUGE)
_FINITE = _number("from -1e100 to 1e100", lambda value: -_HUGE <= value <= _HUGE)
_FRACTION = _number("from 0 to 1", lambda value: 0 <= value <= 1)
_OPEN_FRACTION = _number("above 0 and below 1", lambda value: 0 < value < 1)
_METHOD = Kind(
    "one of theil_sen, huber, ols",
    lambda value: isinstance(value, str) and value in ("theil_sen", "huber", "ols"),
    str,
)
_LONGEST = 100_000
# Theil-Sen keeps all n(n-1)/2 pairs of a window in memory: 8 million of them here.
_LONGEST_TREND = 4096

# Dotted path -> (default, allowed values).
RULES: dict[str, tuple[Any, Kind]] = {
    "eps": (1e-12, _POSITIVE),
    "vol.window": (256, _integer(1, _LONGEST)),
    "vol.winsor_q_low": (0.01, _FRACTION),
    "vol.winsor_q_high": (0.99, _FRACTION),
    "vol.ewma_lambda": (0.94, _OPEN_FRACTION),
    "vol.sigma_floor": (1e-6, _POSITIVE),
    "vol.spike_proxy_cap": (5.0, _POSITIVE),
    "vol.spike_center": (1.2, _FINITE),
    "vol.spike_scale": (0.3, _POSITIVE),
    "trend.windows": ([64, 128, 256], _list_of(_integer(2, _LONGEST_TREND))),
    "trend.weights": ([0.5, 0.3, 0.2], _list_of(_NON_NEGATIVE)),
    "trend.method": ("theil_sen", _METHOD),
    # dp compares adjacent returns, so it needs two.
    "regime.window": (256, _integer(2, _LONGEST)),
    "regime.vr_k": (5, _integer(1, _LONGEST)),
    "regime.softmax_temp": (1.0, _POSITIVE),
    **{f"regime.score.{term}{i}": (1.0, _FINITE) for term in "abc" for i in (1, 2, 3)},
}


class Relation(NamedTuple):
    """A condition on the parameter at `path`, given the others."""

    path: str
    holds: Callable[[Theta], bool]
    allowed: Callable[[Theta], str]


RELATIONS: tuple[Relation, ...] = (
    Relation(
        "vol.winsor_q_low",
        lambda theta: theta["vol"]["winsor_q_low"] < theta["vol"]["winsor_q_high"],
        lambda theta: f"a number below vol.winsor_q_high, {theta['vol']['winsor_q_high']!r}",
    ),
    Relation(
        "trend.weights",
        lambda theta: len(theta["trend"]["weights"]) == len(theta["trend"]["windows"]),
        lambda theta: f"a list as long as trend.windows, {theta['trend']['windows']!r}",
    ),
    Relation(
        "trend.weights",
        lambda theta: sum(theta["trend"]["weights"]) > 0,
        lambda _: "at least one weight > 0",
    ),
    Relation(
        "regime.window",
        lambda theta: theta["regime"]["window"] >= theta["regime"]["vr_k"],
        lambda theta: f"an integer, at least regime.vr_k, {theta['regime']['vr_k']!r}",
    ),
)


def merged_theta(overrides: Mapping[str, Any] | None = None) -> Theta:
    """Return the defaults with `overrides` applied at every level.

    Parameters
    ----------
    overrides : mapping, optional
        Nested like `DEFAULT_THETA`; a missing parameter keeps its default. Lists are replaced,
        not merged.

    Returns
    -------
    Theta
        A nested dict that shares nothing with `overrides` or the defaults.

    Raises
    ------
    ThetaError
        Names the parameter, the value found and what is allowed.
    """
    theta = copy.deepcopy(DEFAULT_THETA)
    if overrides is not None:
        _merge(cast("dict[str, Any]", theta), overrides, "")
    for relation in RELATIONS:
        if not relation.holds(theta):
            found: Any = theta
            for name in relation.path.split("."):
                found = found[name]
            raise _refusal(relation.path, found, relation.allowed(theta))
    return theta


def minimum_length(theta: Theta) -> int:
    """Return the number of prices [1] below which there is no state."""
    longest = max(theta["vol"]["window"], *theta["trend"]["windows"], theta["regime"]["window"])
    return longest + 1


def theta_hash(theta: Mapping[str, Any] | None = None) -> str:
    """Return 16 hex digits that are equal if and only if the merged parameters are equal.

    Parameters
    ----------
    theta : mapping, optional
        Overrides of `DEFAULT_THETA`, with the same nesting.

    Returns
    -------
    str
        ``hash_of_merged(merged_theta(theta))``.

    Raises
    ------
    ThetaError
        As `merged_theta`.
    """
    return hash_of_merged(merged_theta(theta))


def hash_of_merged(theta: Theta) -> str:
    """Return the hash of a theta that is already merged and checked.

    Parameters
    ----------
    theta : Theta
        From `merged_theta`.

    Returns
    -------
    str
        From the SHA-256 of the canonical JSON (sorted keys, no spaces) of `theta`.
    """
    canonical = json.dumps(theta, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _merge(into: dict[str, Any], overrides: object, path: str) -> None:
    if not isinstance(overrides, Mapping):
        raise _refusal(path, overrides, f"a mapping with names among {', '.join(into)}")
    for name, value in overrides.items():
        inner_path = f"{path}.{name}" if path else str(name)
        if name not in into:
            raise _unknown(inner_path, str(name), into)
        if isinstance(into[name], dict):
            _merge(into[name], value, inner_path)
            continue
        _, kind = RULES[inner_path]
        if not kind.accepts(value):
            raise _refusal(inner_path, value, kind.allowed)
        into[name] = kind.store(value)


def _refusal(path: str, found: object, allowed: str) -> ThetaError:
    where = f"theta: {path}" if path else "theta"
    return ThetaError(f"{where}: found {found!r}; allowed: {allowed}")


def _unknown(path: str, name: str, known: Mapping[str, Any]) -> ThetaError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return ThetaError(f"theta: {path} is not a parameter; {hint}")


def _defaults() -> Theta:
    theta: dict[str, Any] = {}
    for path, (default, kind) in RULES.items():
        *groups, name = path.split(".")
        level = theta
        for group in groups:
            level = level.setdefault(group, {})
        level[name] = kind.store(default)
    return cast("Theta", theta)


DEFAULT_THETA: Theta = _defaults()
