"""Log lines on standard error: with a priority for the journal, or a time for a terminal."""

import logging
import sys
from typing import Final

log = logging.getLogger("marketstate")

# sd-daemon(3): systemd reads a leading <n> as the priority of the line.
_PRIORITIES: Final = {
    logging.DEBUG: "<7>",
    logging.INFO: "<6>",
    logging.WARNING: "<4>",
    logging.ERROR: "<3>",
}


class _Formatter(logging.Formatter):
    """Puts the priority or time before every line of a message."""

    def __init__(self, *, for_journal: bool) -> None:
        super().__init__("%(message)s")
        self._before = self._priority if for_journal else self._time

    def format(self, record: logging.LogRecord) -> str:
        before = self._before(record)
        return "\n".join(before + line for line in super().format(record).split("\n"))

    def _priority(self, record: logging.LogRecord) -> str:
        return _PRIORITIES.get(record.levelno, "<6>")

    def _time(self, record: logging.LogRecord) -> str:
        return f"{self.formatTime(record)} {record.levelname:<7} "


def configure(level: str, *, for_journal: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(for_journal=for_journal))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(level)
