"""The log: how its lines look in the journal and on a terminal, and sums of repeated warnings."""

import logging
import math
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

log = logging.getLogger("marketstate")

# sd-daemon(3): systemd reads a leading <n> as the priority of the line.
_PRIORITIES: Final = {
    logging.DEBUG: "<7>",
    logging.INFO: "<6>",
    logging.WARNING: "<4>",
    logging.ERROR: "<3>",
}


_part: ContextVar[str] = ContextVar("part", default="")


def begin_lines_with(part: str) -> None:
    """Every line of this thread, from now on: `p07` for the loop of a partition."""
    _part.set(f"{part} ")


class _Formatter(logging.Formatter):
    """Puts the priority or time before every line of a message, and the part if there is one."""

    def __init__(self, *, for_journal: bool) -> None:
        super().__init__("%(message)s")
        self._before = self._priority if for_journal else self._time

    def format(self, record: logging.LogRecord) -> str:
        before = self._before(record) + ("" if hasattr(record, "is_sum") else _part.get())
        return before + super().format(record).replace("\n", f"\n{before}")

    def _priority(self, record: logging.LogRecord) -> str:
        return _PRIORITIES.get(record.levelno, "<6>")

    def _time(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.created))
        return f"{at}.{int(record.msecs):03d} UTC {record.levelname:<7} "


@dataclass
class _Kind:
    """Warnings of one kind since `since_s`."""

    since_s: float
    in_full: int = 0
    held_back: int = 0
    last: logging.LogRecord | None = None
    part: str = ""
    """That of the last one."""


class Repeats(logging.Filter):
    """Sums up repeated warnings, so that a flood of bad entries does not flood the log.

    The first FEW of a kind are shown in full. The others of that minute become one line at its end,
    with their number and the last of them. After a minute without any, the next ones are shown in
    full again. Two warnings are of one kind if their texts are equal before values are filled in,
    or if they have the same `extra={"kind": ...}`. A line with `extra={"once": about}`, warning
    or not, is shown only the first time; the last MOST_TOLD are remembered. All threads share these
    limits.
    """

    FEW: Final = 10
    MOST_TOLD: Final = 10_000
    MINUTE_S: Final = 60.0

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._kinds: dict[object, _Kind] = {}
        self._told: dict[str, None] = {}
        # Reentrant, because whatever logs next also logs the sums that are due.
        self._lock = threading.RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "is_sum"):
            return True
        with self._lock:
            if self._was_told(getattr(record, "once", "")):
                return False
            return record.levelno < logging.WARNING or self._may_be_shown(record)

    def _may_be_shown(self, record: logging.LogRecord) -> bool:
        self.tell()
        name = getattr(record, "kind", record.msg)
        kind = self._kinds.setdefault(name, _Kind(self._now_s()))
        if kind.in_full < self.FEW:
            kind.in_full += 1
            return True
        kind.held_back += 1
        kind.last, kind.part = record, _part.get()
        return False

    def _was_told(self, about: str) -> bool:
        if not about or about in self._told:
            return bool(about)
        self._told[about] = None
        if len(self._told) > self.MOST_TOLD:
            del self._told[next(iter(self._told))]
        return False

    @property
    def seconds_to_tell(self) -> float:
        """Seconds until a sum is due; infinite if there is none."""
        with self._lock:
            since = [kind.since_s for kind in self._kinds.values() if kind.held_back]
        return max(0.0, min(since, default=math.inf) + self.MINUTE_S - self._now_s())

    def tell(self, *, at_once: bool = False) -> None:
        """Log the sums whose minute is over, or all of them with `at_once`."""
        with self._lock:
            self._tell(at_once)

    def _tell(self, at_once: bool) -> None:
        for name, kind in list(self._kinds.items()):
            passed_s = self._now_s() - kind.since_s
            if passed_s < self.MINUTE_S and not at_once:
                continue
            if kind.last is None:
                del self._kinds[name]
                continue
            self._kinds[name] = _Kind(self._now_s(), in_full=self.FEW)
            log.log(
                kind.last.levelno,
                "%s more of this kind in the last %.0f s, such as: %s%s",
                f"{kind.held_back:,}",
                passed_s,
                kind.part,
                kind.last.getMessage(),
                extra={"is_sum": True},
            )


repeats = Repeats()


def configure(level: str, *, for_journal: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(for_journal=for_journal))
    log.handlers = [handler]
    log.filters = [repeats]
    log.propagate = False
    log.setLevel(level)
