"""Log lines on standard error: with a priority for the journal, with a time for a terminal."""

import logging
import sys
from typing import Final

log = logging.getLogger("marketstate")

# sd-daemon(3): systemd takes a leading <n> for the line's priority.
_PRIORITIES: Final = {
    logging.DEBUG: "<7>",
    logging.INFO: "<6>",
    logging.WARNING: "<4>",
    logging.ERROR: "<3>",
}


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _PRIORITIES.get(record.levelno, "<6>") + super().format(record)


def configure(level: str, *, for_journal: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if for_journal:
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(level)
