"""The parameters: defaults, merging, errors, hash."""

import copy
import json
import math
from typing import Any

import pytest

from marketstate.core.theta import (
    DEFAULT_THETA,
    ThetaError,
    hash_of_merged,
    merged_theta,
    minimum_length,
    theta_hash,
)


def nested(path: str, value: object) -> dict[str, Any]:
    """Return overrides that give `value` to the parameter at a dotted `path`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def test_the_defaults_are_those_of_the_specification() -> None:
    expected = {
        "eps": 1e-12,
        "vol": {
            "window": 256,
            "winsor_q_low": 0.01,
            "winsor_q_high": 0.99,
            "ewma_lambda": 0.94,
            "sigma_floor": 1e-6,
            "spike_proxy_cap": 5.0,
            "spike_center": 1.2,
            "spike_scale": 0.3,
        },
        "trend": {"windows": [64, 128, 256], "weights": [0.5, 0.3, 0.2], "method": "theil_sen"},
        "regime": {
            "window": 256,
            "vr_k": 5,
            "softmax_temp": 1.0,
            "score": dict.fromkeys(["a1", "a2", "a3", "b1", "b2", "b3", "c1", "c2", "c3"], 1.0),
        },
    }
    assert dict(DEFAULT_THETA) == expected


@pytest.mark.parametrize("overrides", [None, {}, {"vol": {}, "regime": {"score": {}}}])
def test_no_overrides_give_the_defaults(overrides: dict[str, Any] | None) -> None:
    assert merged_theta(overrides) == DEFAULT_THETA


def test_overrides_merge_at_every_level() -> None:
    theta = merged_theta({"eps": 1e-9, "vol": {"window": 10}, "regime": {"score": {"b2": 3}}})
    expected: Any = copy.deepcopy(DEFAULT_THETA)
    expected["eps"], expected["vol"]["window"], expected["regime"]["score"]["b2"] = 1e-9, 10, 3.0
    assert theta == expected


def test_an_integer_is_stored_as_a_float_for_a_float_parameter() -> None:
    theta = merged_theta({"vol": {"spike_center": 2}, "trend": {"weights": (3, 1, 0)}})
    assert f"{theta['vol']['spike_center']} {theta['trend']['weights']}" == "2.0 [3.0, 1.0, 0.0]"


def test_the_merged_theta_shares_nothing_with_the_overrides_or_the_defaults() -> None:
    overrides = {"trend": {"windows": [8, 16, 32]}}
    before = copy.deepcopy((overrides, DEFAULT_THETA))
    theta = merged_theta(overrides)
    theta["trend"]["windows"].append(64)
    theta["trend"]["weights"].append(1.0)
    theta["vol"]["window"] = 3
    theta["regime"]["score"]["a1"] = 9.0
    assert (overrides, DEFAULT_THETA) == before


REFUSED = [
    ("eps", 0.0),
    ("eps", -1e-12),
    ("eps", math.nan),
    ("eps", math.inf),
    ("eps", True),
    ("eps", "1e-12"),
    ("eps", None),
    ("vol.window", 0),
    ("vol.window", -5),
    ("vol.window", 256.0),
    ("vol.window", True),
    ("vol.window", "256"),
    ("vol.window", 100_001),
    ("vol.winsor_q_low", -0.01),
    ("vol.winsor_q_low", 0.99),
    ("vol.winsor_q_high", 1.01),
    ("vol.ewma_lambda", 0.0),
    ("vol.ewma_lambda", 1.0),
    ("vol.ewma_lambda", 1),
    ("vol.ewma_lambda", math.nan),
    ("vol.sigma_floor", 0.0),
    ("vol.spike_proxy_cap", 0.0),
    ("vol.spike_center", math.inf),
    ("vol.spike_scale", 0.0),
    ("vol.spike_scale", -0.3),
    ("trend.windows", []),
    ("trend.windows", 64),
    ("trend.windows", "64"),
    ("trend.windows", [64, 1, 256]),
    ("trend.windows", [64, 128.0, 256]),
    ("trend.windows", [64, 128, 4097]),
    ("trend.weights", []),
    ("trend.weights", [0.5, -0.3, 0.2]),
    ("trend.weights", [0.5, math.nan, 0.2]),
    ("trend.weights", [0.5, True, 0.2]),
    ("trend.weights", [0.5, 0.5]),
    ("trend.weights", [0.0, 0.0, 0.0]),
    ("trend.method", "theil-sen"),
    ("trend.method", None),
    ("trend.method", ["ols"]),
    ("regime.window", 1),
    ("regime.window", 4),
    ("regime.vr_k", 0),
    ("regime.vr_k", 2.0),
    ("regime.softmax_temp", 0),
    ("regime.softmax_temp", -1.0),
    ("regime.score.a1", math.nan),
    ("regime.score.c3", "1"),
    ("regime.score.c3", False),
]


@pytest.mark.parametrize(("path", "value"), REFUSED)
def test_an_impossible_value_is_refused_with_its_path_and_value(path: str, value: object) -> None:
    overrides = nested(path, value)
    if path == "vol.winsor_q_low" and value == 0.99:
        overrides["vol"]["winsor_q_high"] = 0.99
    with pytest.raises(ThetaError) as refusal:
        merged_theta(overrides)
    assert str(refusal.value).startswith(f"theta: {path}: found {value!r}; allowed: ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("eps", 1e-100),
        ("vol.window", 1),
        ("vol.winsor_q_low", 0),
        ("vol.winsor_q_high", 1),
        ("trend.weights", [0, 0, 1]),
        ("trend.windows", [2, 2, 4096]),
        ("regime.window", 5),
        ("regime.vr_k", 1),
        ("regime.vr_k", 256),
        ("regime.score.a1", -1),
    ],
)
def test_a_value_at_its_limit_is_accepted(path: str, value: object) -> None:
    found: Any = merged_theta(nested(path, value))
    for name in path.split("."):
        found = found[name]
    assert found == value


def test_overriding_only_the_windows_with_another_number_of_items_is_refused() -> None:
    with pytest.raises(ThetaError) as refusal:
        merged_theta({"trend": {"windows": [32, 100]}})
    assert str(refusal.value) == (
        "theta: trend.weights: found [0.5, 0.3, 0.2];"
        " allowed: a list as long as trend.windows, [32, 100]"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"vol": {"windows": 3}}, "theta: vol.windows is not a parameter; did you mean window?"),
        ({"trends": {}}, "theta: trends is not a parameter; did you mean trend?"),
        (
            {"regime": {"score": {"a4": 1}}},
            "theta: regime.score.a4 is not a parameter; known: a1, a2",
        ),
        ({"zzz": 1}, "theta: zzz is not a parameter; known: eps, vol, trend, regime"),
        ({7: 1}, "theta: 7 is not a parameter; known:"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ThetaError) as refusal:
        merged_theta(overrides)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "theta: found []; allowed: a mapping with names among eps, vol"),
        ("vol", "theta: found 'vol'; allowed: a mapping"),
        ({"vol": 256}, "theta: vol: found 256; allowed: a mapping with names among window"),
        ({"regime": {"score": [1]}}, "theta: regime.score: found [1]; allowed: a mapping"),
    ],
)
def test_a_value_that_is_not_a_mapping_is_refused_for_a_group_of_parameters(
    overrides: Any, message: str
) -> None:
    with pytest.raises(ThetaError) as refusal:
        merged_theta(overrides)
    assert str(refusal.value).startswith(message)


def test_the_minimum_length_is_one_more_than_the_longest_window() -> None:
    longer_each: list[dict[str, Any]] = [{"vol": {"window": 300}}, {"regime": {"window": 400}}, {}]
    longer_each.append({"trend": {"windows": [500, 2], "weights": [1, 1]}})
    assert [minimum_length(merged_theta(theta)) for theta in longer_each] == [301, 401, 257, 501]


def test_the_hash_is_known_and_has_not_changed() -> None:
    assert theta_hash() == "8764a24e4a609220"


def test_the_hash_depends_only_on_the_merged_theta() -> None:
    spelled_out = json.loads(json.dumps(DEFAULT_THETA))
    same: list[Any] = [{}, DEFAULT_THETA, spelled_out, {"regime": {"softmax_temp": 1}}]
    assert {theta_hash(theta) for theta in same} == {theta_hash()}
    assert {hash_of_merged(merged_theta(theta)) for theta in same} == {theta_hash()}
    zeros = [theta_hash({"vol": {"spike_center": zero}}) for zero in (0.0, -0.0)]
    assert zeros[0] == zeros[1]


def test_the_hash_of_a_theta_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(ThetaError, match=r"vol\.windw is not a parameter"):
        theta_hash({"vol": {"windw": 10}})


def test_the_hash_differs_when_any_parameter_differs() -> None:
    others: list[dict[str, Any]] = [
        {"eps": 2e-12},
        {"vol": {"window": 255}},
        {"trend": {"method": "ols"}},
        {"trend": {"weights": [0.3, 0.5, 0.2]}},
        {"regime": {"score": {"a1": 2}}},
        {"regime": {"score": {"a2": 2}}},
    ]
    found = {theta_hash(theta) for theta in [None, *others]}
    assert len(found) == 1 + len(others)
