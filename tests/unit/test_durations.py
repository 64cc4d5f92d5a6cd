"""How durations are shown: an age in few characters, a remaining time in two units."""

from marketstate.worker.commands.durations import brief_duration, precise_duration


def test_an_age_fits_into_a_narrow_column() -> None:
    found = [brief_duration(s) for s in (-5, 0, 99.999, 100, 5_999, 6_000, 172_799, 172_800)]
    assert found == ["0s", "0s", "99s", "1m", "99m", "1h", "47h", "2d"]


def test_a_remaining_time_is_as_precise_as_it_needs_to_be() -> None:
    expected = {0.4: "0 s", 59: "59 s", 65: "1 min 05 s", 7_265: "2 h 01 min"}
    assert {seconds: precise_duration(seconds) for seconds in expected} == expected
