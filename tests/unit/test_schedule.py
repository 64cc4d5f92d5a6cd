"""When replayed entries are due, on a clock that the test controls."""

import math
from collections.abc import Iterator

import pytest

from marketstate.worker.commands.replay import schedule
from marketstate.worker.commands.replay.schedule import batches
from marketstate.worker.commands.replay.sources import Item

MINUTE_MS = 60_000
START_MS = 1_746_373_259_999
# Three symbols at each of four closes; the last close follows a gap.
ITEMS = [
    Item(START_MS + minute * MINUTE_MS, b"x" * 10) for minute in (0, 1, 2, 10) for _ in range(3)
]


class Clock:
    def __init__(self, longest_wait_s: float = math.inf) -> None:
        self.now_s = 100.0
        self._longest_wait_s = longest_wait_s

    def wait(self, seconds: float) -> bool:
        self.now_s += min(seconds, self._longest_wait_s)
        return True

    def feed(self, speed: float, most: int = 1_000, takes_s: float = 0) -> Iterator[object]:
        """When each batch was due, and how many items it had."""
        for batch in batches(iter(ITEMS), speed, most, self.wait, lambda: self.now_s):
            yield round(self.now_s - 100, 6), len(batch)
            self.now_s += takes_s


@pytest.mark.parametrize("longest_wait_s", [math.inf, 0.03])
def test_the_gaps_are_the_original_ones_divided_by_the_speed(longest_wait_s: float) -> None:
    clock = Clock(longest_wait_s)
    assert list(Clock().feed(1)) == [(0, 3), (60, 3), (120, 3), (600, 3)]
    assert list(clock.feed(600)) == [(0, 3), (0.1, 3), (0.2, 3), (1.0, 3)]


def test_at_full_speed_there_is_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Clock().feed(math.inf)) == [(0, 12)]
    assert list(Clock().feed(math.inf, most=5)) == [(0, 5), (0, 5), (0, 2)]
    monkeypatch.setattr(schedule, "BYTES_AT_ONCE", 70)
    assert list(Clock().feed(math.inf)) == [(0, 7), (0, 5)]


def test_a_delay_is_caught_up_and_later_gaps_stay() -> None:
    assert list(Clock().feed(1, takes_s=150)) == [(0, 3), (150, 6), (600, 3)]


def test_it_ends_in_the_middle_of_a_wait() -> None:
    found = list(batches(iter(ITEMS), 1, 1_000, lambda _seconds: False, lambda: 0.0))
    assert found == [ITEMS[:3]]
