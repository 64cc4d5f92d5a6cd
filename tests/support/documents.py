"""The documents of this repository: their headings, their links, and the files they name."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]

_FENCE: Final = re.compile(r"^ {0,3}(```+|~~~+)")
_HEADING: Final = re.compile(r"^ {0,3}#{1,6}\s+(.*?)\s*#*$")
_CODE_SPAN: Final = re.compile(r"(`+)(.+?)\1")
_LINK: Final = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^ {0,3}\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_ELSEWHERE: Final = re.compile(r"^[a-z][a-z+.-]*:", re.IGNORECASE)
_FILE: Final = re.compile(
    r"(?<![\w./-])(?:\./)?((?:core|deploy|schemas|scripts|tests|worker)/[\w./-]*\w)"
)


class Line(NamedTuple):
    number: int
    text: str
    in_code: bool


def documents() -> list[Path]:
    """Every *.md of the repository, except in hidden folders such as environments."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [*ROOT.glob("*.md"), *(path for folder in folders for path in folder.rglob("*.md"))]
    return sorted(found)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines(path: Path) -> Iterator[Line]:
    """Each line, and whether it is in a code block, fenced or indented."""
    fence, indented, in_paragraph = "", False, False
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        mark = _FENCE.match(text)
        if fence or mark:
            yield Line(number, text, in_code=True)
            if mark and not fence:
                fence, in_paragraph = mark[1], False
            elif text.strip().startswith(fence):
                fence = ""
            continue
        # An indented line after one of text continues the paragraph.
        indented = text.startswith("    ") and (indented or not in_paragraph)
        in_paragraph = bool(text.strip()) and not indented
        yield Line(number, text, indented)


def prose(path: Path) -> str:
    return "\n".join("" if line.in_code else line.text for line in lines(path))


def code_spans(path: Path) -> list[str]:
    return [match[2].strip() for match in _CODE_SPAN.finditer(prose(path))]


@cache
def headings(path: Path) -> list[str]:
    found = (_HEADING.match(line) for line in prose(path).splitlines())
    return [match[1] for match in found if match]


@cache
def anchors(path: Path) -> frozenset[str]:
    """As GitHub makes them: a repeated heading gets the suffix `-1`, then `-2`, and so on."""
    seen: Counter[str] = Counter()
    found = set()
    for slug in map(slug_of, headings(path)):
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(found)


def slug_of(heading: str) -> str:
    """Lower case; keeps letters, digits, `_` and `-`; spaces become `-`; drops the rest."""
    shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")


def links(path: Path) -> list[str]:
    """Links to places in this repository, as written."""
    found = (match[1] or match[2] for match in _LINK.finditer(_CODE_SPAN.sub("", prose(path))))
    return [target for target in found if not _ELSEWHERE.match(target)]


def files_named_in(path: Path) -> set[str]:
    """Paths from the root of the repository, in text and in code: `scripts/demo`."""
    return {match[1] for match in _FILE.finditer(path.read_text())}
