"""Symbols of any script in a picture: fonts that have their letters, and what replaces them."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Final

import matplotlib as mpl
from matplotlib.font_manager import (
    FontEntry,
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
    get_font,
)

# It has a box for every letter, which tells nothing.
_BOXES: Final = "Last Resort"


def fonts_for(texts: Iterable[str]) -> list[str]:
    """Families of installed fonts, in the order in which to look for a letter of `texts`."""
    families: list[str] = list(mpl.rcParams["font.family"])
    lacking = set("".join(texts)) - _letters(_file_of(families[0]))
    for entry in chain(fontManager.ttflist, _new_fonts()):
        if not lacking:
            break
        if entry.name.startswith(_BOXES) or entry.name in families:
            continue
        if has := lacking & _letters(entry.fname):
            families.append(entry.name)
            lacking -= has
    return families


def with_letters_of(families: Iterable[str], text: str) -> str:
    """`text` with the number of each letter that these fonts lack, such as `[U+5E01]`."""
    known = frozenset[str]().union(*(_letters(_file_of(family)) for family in families))
    return "".join(letter if letter in known else f"[U+{ord(letter):04X}]" for letter in text)


def shortened(text: str, most: int) -> str:
    """`text` without its middle if it has more than `most` letters."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def _new_fonts() -> Iterator[FontEntry]:
    """Fonts that were installed after matplotlib listed them."""
    listed = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - listed):
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError, NotImplementedError):
            continue  # cannot be read, or not a font that can be scaled
        yield fontManager.ttflist[-1]


def _file_of(family: str) -> str:
    return findfont(FontProperties(family=[family]))


@lru_cache(maxsize=4_096)
def _letters(font_file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, get_font(font_file).get_charmap()))
    except (OSError, RuntimeError):  # a font that was removed, or that cannot be read
        return frozenset()
