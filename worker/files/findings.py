"""What is found in candle files: each kind is counted apart, and its first few are shown.

Bad lines and gaps may be refused. Candles that came twice, or had not closed, do not count.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.bad_lines import Skipped

_KINDS: Final = ("skipped", "gaps", "duplicates", "revised", "unclosed")


class Plain(msgspec.Struct):
    """Findings as they go into a file or to another process."""

    counts: dict[str, int] = msgspec.field(default_factory=dict)
    first: dict[str, list[str]] = msgspec.field(default_factory=dict)
    missing: int = 0
    notes: list[str] = msgspec.field(default_factory=list)


class Findings:
    """Takes what a reader finds; `report` tells it."""

    def __init__(self, *, skip_bad: bool | None = None, allow_gaps: bool | None = None) -> None:
        """What is not allowed is refused. None: so it is, and there is no option that allows it."""
        self._skip_bad = skip_bad
        self._allow_gaps = allow_gaps
        self.skipped = Skipped()
        self.gaps = Skipped()
        self.missing = 0
        """Candles that are missing in the gaps."""
        self.duplicates = Skipped()
        self.revised = Skipped()
        self.unclosed = Skipped()
        self.restarted = False
        """Whether prices do not count because a long gap follows them."""
        self.notes: list[str] = []

    def bad(self, where: str, what: str) -> None:
        if not self._skip_bad:
            hint = "; --skip-bad leaves such lines out" if self._skip_bad is False else ""
            raise FileUnusable(f"{where}: {what}{hint}")
        self.skipped(where, what)

    def gap(self, where: str, what: str, missing: int) -> None:
        # A line that is left out may leave a gap.
        if not (self._allow_gaps or self._skip_bad):
            hint = "; --allow-gaps accepts gaps" if self._allow_gaps is False else ""
            raise FileUnusable(f"{where}: {what}{hint}")
        self.gaps(where, what)
        self.missing += missing

    def plain(self) -> Plain:
        kinds: dict[str, Skipped] = {kind: getattr(self, kind) for kind in _KINDS}
        return Plain(
            {kind: found.count for kind, found in kinds.items()},
            {kind: found.first for kind, found in kinds.items()},
            self.missing,
            self.notes,
        )

    def add(self, plain: Plain) -> None:
        """What others have found, after what was found so far."""
        for kind, count in plain.counts.items():
            getattr(self, kind).add(count, plain.first[kind])
        self.missing += plain.missing
        self.notes += plain.notes

    def report(self) -> Iterator[str]:
        yield from self.notes
        yield from self.skipped.report("lines or entries left out")
        yield from self.gaps.report(f"candles missing: {self.missing:,}; gaps")
        yield from self.duplicates.report("candles that came twice")
        yield from self.revised.report(
            "candles that came twice with different closes, of which the first counts"
        )
        yield from self.unclosed.report("candles that had not closed, left out")
