"""Comparing two states: within a tolerance, or to the last bit."""

import math
from collections.abc import Iterator, Mapping
from typing import Any


def differences(
    expected: Any, actual: Any, rel: float = 1e-9, absolute: float = 0.0, path: str = "state"
) -> list[str]:
    """Return where two states differ by more than the tolerance; [] if they agree."""
    if isinstance(expected, Mapping):
        if list(expected) != list(actual):
            return [f"{path}: expected keys {list(expected)}, found {list(actual)}"]
        return [
            difference
            for name in expected
            for difference in differences(
                expected[name], actual[name], rel, absolute, f"{path}.{name}"
            )
        ]
    if isinstance(expected, float):
        same = math.isclose(expected, actual, rel_tol=rel, abs_tol=absolute)
    else:
        same = expected == actual
    return [] if same else [f"{path}: expected {expected!r}, found {actual!r}"]


def leaves(state: Any) -> Iterator[Any]:
    """Yield every value in a nested state."""
    if isinstance(state, Mapping):
        for value in state.values():
            yield from leaves(value)
    elif isinstance(state, list):
        for value in state:
            yield from leaves(value)
    else:
        yield state


def bits(state: Mapping[str, Any] | None) -> str:
    """Return a text that is equal if and only if all bits of two states are equal."""
    return repr(state)
