"""The warning about days in which every state of a symbol had one regime."""

import logging

import pytest

from marketstate.worker.engine.one_regime import FEWEST_STATES, OneRegime
from marketstate.worker.log import log, repeats
from tests.support.records import make_record

# The first close is at 15:40 UTC.
TO_MIDNIGHT = 500


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(repeats, "_told", {})
    monkeypatch.setattr(log, "filters", [repeats])
    caplog.set_level(logging.WARNING)
    return caplog.messages


def noted(caplog: pytest.LogCaptureFixture, regimes: list[str], *, first: int = 0) -> list[str]:
    """The warnings after states with these regimes, and one of the next day."""
    one = OneRegime()
    one.note(make_record("AAA", first + i, regime) for i, regime in enumerate(regimes))
    one.note([make_record("AAA", TO_MIDNIGHT, "mr")])
    return caplog.messages


def test_a_day_of_one_regime_is_told_when_the_next_begins(caplog: pytest.LogCaptureFixture) -> None:
    [told] = noted(caplog, ["chop"] * TO_MIDNIGHT)
    assert told.startswith(
        "AAA: all 500 states of 2025-05-04 that this worker published were chop, which tells "
        "nothing; "
    )


def test_a_day_of_two_regimes_or_of_few_states_is_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    few = FEWEST_STATES - 1
    assert noted(caplog, ["chop"] * 30 + ["trend"] + ["chop"] * 30) == []
    assert noted(caplog, ["chop"] * few, first=TO_MIDNIGHT - few) == []
    assert len(noted(caplog, ["chop"] * (few + 1), first=TO_MIDNIGHT - few - 1)) == 1


def test_it_is_told_once_a_day_for_all_symbols(caplog: pytest.LogCaptureFixture) -> None:
    one = OneRegime()
    for symbol in ("AAA", "BBB"):
        one.note(make_record(symbol, i) for i in range(TO_MIDNIGHT + 1 + 1_440))
    days = [message.partition(" states of ")[2][:10] for message in caplog.messages]
    assert days == ["2025-05-04", "2025-05-05"]


def test_a_symbol_that_is_retired_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    one = OneRegime()
    one.note(make_record("AAA", i) for i in range(TO_MIDNIGHT))
    one.forget(["AAA", "BBB"])
    one.note([make_record("AAA", TO_MIDNIGHT)])
    assert caplog.messages == []
