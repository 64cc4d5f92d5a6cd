"""What a worker would have logged about candles: the first few of each kind, and how many."""

from collections.abc import Iterable, Iterator
from typing import Final

from marketstate.worker.engine.changes import Changes
from marketstate.worker.engine.pipeline import TOO_CLOSE

SHOWN: Final = 5
_KINDS: Final = {
    "dead": "dead letters: they are no candles that a worker can apply",
    "ignored": "candles that do not count here",
    "unclosed": "candles that had not closed",
    "late": "candles that came too late",
    "gap": "gaps",
    "restarted": "windows that started over after a gap",
    "starts over": "windows that started over after a long silence",
    "revised": "candles that came twice with different closes, of which the first counts",
    TOO_CLOSE: "candles closer to each other than their interval",
}

OF_RECORDINGS: Final = tuple(_KINDS)
OF_CANDLE_FILES: Final = ("dead", "restarted", "starts over")
"""The others, their reader has found."""


class Told:
    """By kind, the first few."""

    def __init__(self, kinds: Iterable[str] = OF_RECORDINGS) -> None:
        self._first: dict[str, list[str]] = {kind: [] for kind in kinds}
        self._once: set[str] = set()
        """What has been told that is only told once."""

    def note(self, changes: Changes) -> None:
        if changes.warnings or changes.told_once or changes.errors:
            for kind, text in changes.warnings:
                self._note(kind, text)
            for about, (kind, text) in changes.told_once.items():
                if about not in self._once and self._note(kind, text):
                    self._once.add(about)
            for text in changes.errors:
                self._note("dead", text)

    def plain(self) -> dict[str, list[str]]:
        return self._first

    def add(self, plain: dict[str, list[str]]) -> None:
        for kind, texts in plain.items():
            for text in texts:
                self._note(kind, text)

    def report(self, counters: dict[str, int]) -> Iterator[str]:
        for kind, texts in self._first.items():
            if texts:
                count = counters.get(kind, 0)
                name, _, longer = kind.partition(".")
                of_what = f" ({longer})" if longer else ""
                yield f"{_KINDS[name]}{of_what}{f': {count:,}' * (count > 0)}"
                yield from (f"  {text}" for text in texts)
                if count > len(texts):
                    yield f"  ... and {count - len(texts):,} more"

    def _note(self, kind: str, text: str) -> bool:
        """Whether it is among the first few."""
        name, _, _ = kind.partition(".")
        if name not in self._first:
            return False
        some = self._first.setdefault(kind, [])
        # What is told once comes from each unit.
        if text in some or len(some) >= SHOWN:
            return False
        some.append(text)
        return True
