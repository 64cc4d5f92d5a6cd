"""States that must not change: our own vectors, and the shared golden file if it exists."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from marketstate.core.state import MarketState
from tests.support.states import differences

OWN = Path(__file__).with_name("vectors.json")
SHARED = Path(__file__).parents[3] / "shared" / "golden" / "states.json.gz"


def cases() -> list[Any]:
    found = [("own", json.loads(OWN.read_text()))]
    if SHARED.exists():
        found.append(("shared", json.loads(gzip.decompress(SHARED.read_bytes()))))
    return [
        pytest.param(case, id=f"{origin}-{case['name']}")
        for origin, vectors in found
        for case in vectors
    ]


@pytest.mark.parametrize("case", cases())
def test_the_state_of_a_recorded_window_is_the_recorded_one(case: dict[str, Any]) -> None:
    is_huber = ((case["theta"] or {}).get("trend") or {}).get("method") == "huber"
    actual = MarketState(case["theta"]).get_state(case["name"], case["prices"])
    assert differences(case["state"], actual, rel=1e-5 if is_huber else 1e-9) == []


def test_there_are_at_least_twelve_recorded_windows_and_all_of_ours_have_a_state() -> None:
    own = json.loads(OWN.read_text())
    assert len(own) == 12
    assert [case["name"] for case in own if case["state"] is None] == []
