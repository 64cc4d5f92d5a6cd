"""The ring buffer: the last closes of one symbol, always contiguous."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_EMPTY: NDArray[np.float64] = np.empty((1, 0))
_SPARE: Final = 16
"""Of the capacity: a worker keeps a window for each symbol, and a move takes a microsecond."""


class Window:
    """The last `capacity` closes of one symbol, with their close times.

    New closes are appended to a buffer; when its end is reached, the closes still needed are moved
    to the front. So the closes are always one contiguous slice. The buffer starts with room for
    what comes first, and doubles until it is a sixteenth longer than the capacity, because a symbol
    may be seen only once. From then on there is a move after each sixteenth of the closes.

    Most symbols close at even steps: then the newest close time and the step tell all the others.
    The buffer has a second row, of close times, only while the steps differ: from a gap on, until
    a move finds that the closes before the gap have left the window.

    Parameters
    ----------
    capacity : int
        Number of closes kept [1], >= 1.

    Attributes
    ----------
    last_close_time_ms : int
        Close time of the newest close [ms since 1970, UTC]; 0 when empty.

    Raises
    ------
    ValueError
        If `capacity` is below 1.
    """

    __slots__ = ("_buffer", "_capacity", "_end", "_size", "_step_ms", "last_close_time_ms")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: found {capacity}; give at least 1")
        self._capacity = capacity
        # Times, too, as floats: exact up to 2**53 ms. So a window has one buffer and one move.
        self._buffer = _EMPTY
        self._step_ms: int | None = 0
        self._end = 0
        self._size = 0
        self.last_close_time_ms = 0

    def __len__(self) -> int:
        return self._size

    def extend(
        self,
        close_times_ms: Sequence[int] | NDArray[np.int64],
        closes: Sequence[float] | NDArray[np.float64],
    ) -> None:
        """Append closes, oldest first; the oldest beyond the capacity are dropped.

        Parameters
        ----------
        close_times_ms : sequence of int, length n
            Close times [ms since 1970, UTC], strictly increasing and after `last_close_time_ms`. A
            long array is checked faster than a list.
        closes : sequence of float, length n
            Closes [quote currency].

        Raises
        ------
        ValueError
            If the times do not increase or the lengths differ; then nothing is appended.
        """
        if len(close_times_ms) != len(closes):
            raise ValueError(
                f"found {len(close_times_ms)} close times for {len(closes)} closes; "
                "give one for each"
            )
        if len(closes) == 0:
            return
        if len(closes) == 1 and self._append_next(int(close_times_ms[0]), closes[0]):
            return
        steps_ms = self._steps_to(close_times_ms)
        new_n = min(len(closes), self._capacity)
        self._make_room_for(new_n)
        if self._step_ms is not None:
            self._look_at(steps_ms)
        new = slice(self._end, self._end + new_n)
        self._buffer[0, new] = closes[-new_n:]
        if self._step_ms is None:
            self._buffer[1, new] = close_times_ms[-new_n:]
        self._end += new_n
        self._size = min(self._size + new_n, self._capacity)
        self.last_close_time_ms = int(close_times_ms[-1])

    def closes(self) -> NDArray[np.float64]:
        """Return the closes [quote currency], oldest first, shape (len(self),).

        A read-only, contiguous view in O(1), valid until the next `extend`.
        """
        view = self._buffer[0, self._end - self._size : self._end]
        view.flags.writeable = False
        return view

    def close_time_ms(self, index: int) -> int:
        """Return the time [ms since 1970, UTC] of `closes()[index]`; 0 <= index < len(self)."""
        if self._step_ms is None:
            return int(self._buffer[1, self._end - self._size + index])
        return self.last_close_time_ms - (self._size - 1 - index) * self._step_ms

    def _append_next(self, close_time_ms: int, close: float) -> bool:
        """Append a close that is one step after the newest, if there is room for it, in a fifth of
        the time: a worker does this for almost every candle. Otherwise return False.
        """
        if (
            close_time_ms - self.last_close_time_ms != self._step_ms
            or self._end == self._buffer.shape[1]
            or self._size < 2
        ):
            return False
        self._buffer[0, self._end] = close
        self._end += 1
        self._size = min(self._size + 1, self._capacity)
        self.last_close_time_ms = close_time_ms
        return True

    def _look_at(self, new_steps_ms: list[int]) -> None:
        """Keep the step [ms]; or if these differ from it, begin to keep close times instead."""
        steps_ms = new_steps_ms if self._size > 0 else new_steps_ms[1:]
        step_ms = steps_ms[0] if steps_ms else 0
        if self._size > 1 and self._step_ms is not None:
            step_ms = self._step_ms
        if steps_ms.count(step_ms) == len(steps_ms):
            self._step_ms = step_ms
            return
        so_far = [self.close_time_ms(index) for index in range(self._size)]
        closes, self._buffer = self._buffer, np.empty((2, self._buffer.shape[1]))
        self._buffer[0] = closes
        self._buffer[1, self._end - self._size : self._end] = so_far
        self._step_ms = None

    def _steps_to(self, close_times_ms: Sequence[int] | NDArray[np.int64]) -> list[int]:
        """Return the steps [ms] from the newest close to these, and between them."""
        last_ms = self.last_close_time_ms
        steps_ms = [int(close_times_ms[0]) - last_ms, *_steps_ms(close_times_ms)]
        if min(steps_ms) <= 0:
            wrong = next(i for i, step_ms in enumerate(steps_ms) if step_ms <= 0)
            later_ms = int(close_times_ms[wrong])
            raise ValueError(
                f"close times: found {later_ms} ms after {later_ms - steps_ms[wrong]} ms; "
                "they must be strictly increasing"
            )
        return steps_ms

    def _make_room_for(self, new_n: int) -> None:
        room_n = self._buffer.shape[1]
        if self._end + new_n <= room_n:
            return
        old_n = min(self._size, self._capacity - new_n)
        kept = self._buffer[:, self._end - old_n : self._end]
        if self._step_ms is None:
            steps_ms = {*_steps_ms(kept[1])}
            if len(steps_ms) <= 1:
                self._step_ms = sum(steps_ms)
                kept = kept[:1]
        full_n = self._capacity + self._capacity // _SPARE + 1
        if room_n < full_n:
            # The first closes get just the room that they need.
            room_n = min(2 * (old_n + new_n), full_n) if room_n else new_n
        if self._buffer.shape != (len(kept), room_n):
            self._buffer = np.empty((len(kept), room_n))
        self._buffer[:, :old_n] = kept
        self._end = self._size = old_n


def _steps_ms(times_ms: Sequence[float] | NDArray[Any]) -> list[int]:
    """Return the steps [ms] between these times."""
    if isinstance(times_ms, np.ndarray):
        found: list[int] = np.diff(times_ms).astype(np.int64).tolist()
        return found
    return [int(later - earlier) for earlier, later in pairwise(times_ms)]
