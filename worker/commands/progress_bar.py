"""Progress on standard error: a bar on a terminal, otherwise a line every few seconds."""

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from marketstate.worker.commands.durations import precise_duration
from marketstate.worker.commands.terminal_size import Size, terminal_size

SHORTEST_BAR: Final = 10
LONGEST_BAR: Final = 40
# What stands beside the bar and has to fit at 80 columns, with numbers of six digits.
ROOM_FOR_TEXT: Final = 66
ON_TERMINAL_S: Final = 0.1
IN_LOG_S: Final = 10.0
RATE_OVER_S: Final = 10.0


class ProgressBar:
    def __init__(
        self, total: int | None, unit: str, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Without `total`, it shows how many are done."""
        self._now_s = now_s
        self._total = total
        self._unit = unit
        self._on_terminal = sys.stderr.isatty()
        self._every_s = ON_TERMINAL_S if self._on_terminal else IN_LOG_S
        self._shown_s = now_s()
        self._seen: deque[tuple[float, int]] = deque()
        self._width = 0

    def show(self, done: int, note: str = "", left_s: float | None = None) -> None:
        """Without `left_s`, the time left is estimated from the rate of the last seconds."""
        now_s = self._now_s()
        if not self._seen or now_s - self._seen[-1][0] > ON_TERMINAL_S:
            self._seen.append((now_s, done))
        while now_s - self._seen[0][0] > RATE_OVER_S:
            self._seen.popleft()
            if not self._seen:
                self._seen.append((now_s, done))
        if now_s - self._shown_s < self._every_s:
            return
        self._shown_s = now_s
        began_s, before = self._seen[0]
        rate = (done - before) / max(now_s - began_s, 1e-9)
        if left_s is None and rate > 0 and self._total is not None:
            left_s = (self._total - done) / rate
        size = terminal_size(sys.stderr)
        self._print(self._line(done, rate, left_s, note, size), size)

    def end(self) -> None:
        """End the terminal's line, so that others can print."""
        if self._width:
            print(file=sys.stderr)
            self._width = 0

    def _line(
        self, done: int, rate: float, left_s: float | None, note: str, size: Size | None
    ) -> str:
        if self._total is None:
            bar, count = "", f"{done:,}"
        else:
            share = done / self._total if self._total else 1.0
            bar = self._bar(share, size.columns - 1) if size else ""
            count = f"{share:4.0%}  {done:,} of {self._total:,}"
        facts = {
            "count": count,
            "unit": f" {self._unit}",
            "rate": f", {rate:,.0f}/s",
            "left": "" if left_s is None else f", {precise_duration(left_s)} left",
            "note": note and f"; {note}",
        }
        if size is None:
            return "".join(facts.values())
        # A character in the last column makes some terminals begin a new line.
        columns = size.columns - 1
        for least in ("", "rate", "unit", "note"):
            facts.pop(least, None)
            line = bar + "".join(facts.values())
            if len(line) <= columns:
                break
        return line[:columns]

    @staticmethod
    def _bar(share: float, columns: int) -> str:
        """Its length depends on the terminal only, so that it does not jump with the text."""
        length = min(LONGEST_BAR, columns - ROOM_FOR_TEXT - len("[] "))
        if length < SHORTEST_BAR:
            return ""
        filled = int(share * length)
        return f"[{'#' * filled}{'.' * (length - filled)}] "

    def _print(self, line: str, size: Size | None) -> None:
        if size is None:
            print(line, file=sys.stderr, flush=True)
            return
        fill = " " * (min(self._width, size.columns - 1) - len(line))
        print(f"\r{line}{fill}", end="", file=sys.stderr, flush=True)
        self._width = len(line)
