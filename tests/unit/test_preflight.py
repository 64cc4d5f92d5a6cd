"""The window whose state the preflight knows, and how loud its findings are."""

import logging

from marketstate.core.state import MarketState
from marketstate.core.theta import DEFAULT_THETA
from marketstate.worker.engine.preflight import KNOWN_STATE, KNOWN_WINDOW, VERSION, Finding
from tests.support.oracle import oracle_state
from tests.support.states import differences


def test_the_known_state_is_the_oracles() -> None:
    state = oracle_state(KNOWN_WINDOW, dict(DEFAULT_THETA))
    assert state is not None
    expected = {name: state[name] for name in KNOWN_STATE}
    assert differences(expected, KNOWN_STATE, rel=1e-12) == []


def test_the_known_window_has_the_minimum_length_and_its_state_is_at_no_limit() -> None:
    """A wrong calculation could still give the right state if that were at a floor or a cap."""
    assert len(KNOWN_WINDOW) == MarketState().minimum_length
    assert KNOWN_STATE["sigma"] > 10 * DEFAULT_THETA["vol"]["sigma_floor"]
    assert KNOWN_STATE["mu"] > 0


def test_an_old_server_is_no_warning_at_every_start_of_a_worker() -> None:
    levels = [Finding("warn", subject, "").log_level for subject in (VERSION, "memory")]
    assert levels == [logging.INFO, logging.WARNING]
