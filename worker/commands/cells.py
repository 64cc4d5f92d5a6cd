"""The cells of a terminal that a text takes: two for a letter such as 币, none for an accent."""

import unicodedata
from itertools import accumulate
from typing import Final

_WIDE: Final = ("W", "F")
# Accents that combine with the letter before them, and marks that are not shown.
_WITHOUT_CELL: Final = ("Mn", "Me", "Cf")


def cells(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(letter: str) -> int:
    if unicodedata.category(letter) in _WITHOUT_CELL:
        return 0
    return 2 if unicodedata.east_asian_width(letter) in _WIDE else 1


def left(text: str, width: int) -> str:
    """`text` at the left of `width` cells."""
    return text + " " * (width - cells(text))


def right(text: str, width: int) -> str:
    return " " * (width - cells(text)) + text


def cut(text: str, width: int) -> str:
    """As much of `text` as fits into `width` cells."""
    if cells(text) <= width:
        return text
    return text[: sum(end <= width for end in accumulate(map(_cells_of, text)))]
