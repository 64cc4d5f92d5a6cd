"""The ring buffer."""

import tracemalloc
from itertools import accumulate
from random import Random
from typing import Any

import numpy as np
import pytest

from marketstate.core.window import Window


def filled(capacity: int, closes_n: int) -> Window:
    """Return a window after adding the closes 1, 2, ... at 10, 20, ... ms, one at a time."""
    window = Window(capacity)
    for close in range(1, closes_n + 1):
        window.extend([10 * close], [float(close)])
    return window


def times_of(window: Window) -> list[int]:
    return [window.close_time_ms(index) for index in range(len(window))]


def test_close_times_are_exact() -> None:
    window = Window(3)
    window.extend(np.array([1_767_268_799_999, 4_102_444_799_999]), [1.0, 2.0])
    assert times_of(window) == [1_767_268_799_999, 4_102_444_799_999]


def test_a_new_window_is_empty() -> None:
    window = Window(3)
    assert (len(window), window.last_close_time_ms, window.closes().tolist()) == (0, 0, [])


@pytest.mark.parametrize("capacity", [1, 2, 3, 7])
def test_the_last_closes_are_kept_oldest_first(capacity: int) -> None:
    for closes_n in range(1, 25):
        window = filled(capacity, closes_n)
        expected = [float(close) for close in range(1, closes_n + 1)][-capacity:]
        assert window.closes().tolist() == expected
        assert (len(window), window.last_close_time_ms) == (len(expected), 10 * closes_n)
        assert times_of(window) == [10 * int(close) for close in expected]


@pytest.mark.parametrize("first_n", range(12))
def test_many_closes_at_once_give_the_same_as_one_at_a_time(first_n: int) -> None:
    for closes_n in range(first_n, first_n + 12):
        window = Window(4)
        times, closes = [10 * n for n in range(1, closes_n + 1)], np.arange(1.0, closes_n + 1)
        window.extend(times[:first_n], closes[:first_n])
        window.extend(times[first_n:], closes[first_n:])
        assert window.closes().tolist() == filled(4, closes_n).closes().tolist()
        assert window.last_close_time_ms == filled(4, closes_n).last_close_time_ms
        assert times_of(window) == times[-4:]


@pytest.mark.parametrize("capacity", [1, 2, 3, 17])
def test_close_times_are_exact_whatever_their_steps(capacity: int) -> None:
    rng = Random(capacity)
    window, expected = Window(capacity), [1_767_268_799_999]
    window.extend(expected, [1.0])
    for _ in range(400):
        # Mostly even, with a gap now and then, and phases of a feed that is off by a millisecond.
        wobble = rng.choice([0, 0, 0, 0, 1])
        steps = [
            60_000 * rng.choice([1] * 30 + [2]) + wobble * rng.choice([-1, 0, 1])
            for _ in range(rng.choice([1, 1, 1, 2, 9, 40]))
        ]
        times = [expected[-1] + after for after in accumulate(steps)]
        expected += times
        given: Any = rng.choice([times, np.array(times)])
        window.extend(given, np.array(times) / 7)
        assert times_of(window) == expected[-capacity:]
        assert window.closes().tolist()[-1] == times[-1] / 7


def test_the_closes_are_a_contiguous_read_only_view() -> None:
    closes = filled(5, 23).closes()
    assert closes.flags.c_contiguous
    assert closes.dtype == np.dtype(np.float64)
    assert closes.base is not None
    with pytest.raises(ValueError, match="read-only"):
        closes[0] = 1.0


@pytest.mark.parametrize("capacity", [1, 3, 5])
@pytest.mark.parametrize(
    ("times", "found"),
    [
        ([30], "found 30 ms after 30 ms"),
        ([29], "found 29 ms after 30 ms"),
        ([40, 40], "found 40 ms after 40 ms"),
        ([40, 50, 45], "found 45 ms after 50 ms"),
    ],
)
def test_close_times_that_do_not_increase_are_refused_and_change_nothing(
    times: list[int], found: str, capacity: int
) -> None:
    window = filled(capacity, 3)
    with pytest.raises(ValueError, match=found):
        window.extend(times, [9.0] * len(times))
    assert window.closes().tolist() == [1.0, 2.0, 3.0][-capacity:]
    assert window.last_close_time_ms == 30


@pytest.mark.parametrize("closes_n", [1, 2, 3])
def test_a_window_of_one_close_refuses_the_same_time(closes_n: int) -> None:
    window = filled(1, closes_n)
    with pytest.raises(ValueError, match="must be strictly increasing"):
        window.extend([10 * closes_n], [9.0])


def test_as_many_close_times_as_closes_are_needed() -> None:
    with pytest.raises(ValueError, match="found 2 close times for 1 closes"):
        Window(3).extend([10, 20], [1.0])


def test_a_value_that_is_not_a_number_changes_nothing() -> None:
    window = filled(3, 2)
    bad: Any = ["x"]
    with pytest.raises(ValueError, match="could not convert"):
        window.extend([30], bad)
    assert (window.closes().tolist(), window.last_close_time_ms) == ([1.0, 2.0], 20)


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_capacity_below_one_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity: found {capacity}"):
        Window(capacity)


def test_a_thousand_full_windows_of_300_closes_need_less_than_3_megabytes() -> None:
    times, closes = list(range(1, 1_001)), np.full(1_000, 1.5)
    tracemalloc.start()
    try:
        windows = [Window(300) for _ in range(1000)]
        empty_bytes, _ = tracemalloc.get_traced_memory()
        for window in windows:
            for i in range(0, 1_000, 250):
                window.extend(times[i : i + 250], closes[i : i + 250])
        full_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert empty_bytes < 200_000
    assert full_bytes < 3_000_000


def bytes_of_buffers(n: int, closes_n: int, times: int = 1, gap_ms: int = 0) -> int:
    """What the buffers of `n` windows of 300 take, with so many closes added so many times, the
    first of which has a gap before its last close.
    """
    times_ms, closes = np.arange(1_000, 1_000 + closes_n), np.full(closes_n, 1.5)
    with_gap_ms = times_ms.copy()
    with_gap_ms[:-1] -= gap_ms
    windows = [Window(300) for _ in range(n)]
    tracemalloc.start()
    try:
        for window in windows:
            window.extend(with_gap_ms, closes)
            for i in range(1, times):
                window.extend(times_ms + i * closes_n, closes)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_window_takes_the_memory_that_its_closes_need() -> None:
    """A mad upstream may send a close each of as many symbols as it likes."""
    assert bytes_of_buffers(1_000, 1) < 250_000
    assert bytes_of_buffers(1_000, 1, times=2) < 300_000
    assert bytes_of_buffers(1_000, 300) < 2_700_000


def test_close_times_take_memory_only_while_their_steps_differ() -> None:
    with_gap = bytes_of_buffers(100, 300, gap_ms=500)
    assert with_gap > 480_000
    assert bytes_of_buffers(100, 300, times=2, gap_ms=500) < with_gap * 0.6


def test_an_array_of_close_times_is_checked_like_a_list() -> None:
    window = filled(5, 3)
    for times in ([30, 40], [40, 40]):
        with pytest.raises(ValueError, match="must be strictly increasing"):
            window.extend(np.array(times), [9.0, 9.0])
    window.extend(np.array([], dtype=np.int64), [])
    window.extend(np.array([40, 50]), np.array([4.0, 5.0]))
    assert (window.closes().tolist(), window.last_close_time_ms) == ([1.0, 2.0, 3.0, 4.0, 5.0], 50)
