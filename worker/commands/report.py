"""A report of sections with lines, tables and pictures: as text, or as an HTML page."""

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from marketstate.worker.commands.cells import cells, left, right
from marketstate.worker.commands.html_page import html_page

_WIDTH: Final = 79


class Table(NamedTuple):
    """The first column is aligned at the left, the others at the right."""

    names: Sequence[str]
    rows: Sequence[Sequence[str]]

    def lines(self) -> Iterator[str]:
        every = (self.names, *self.rows)
        first, *others = (max(map(cells, column)) for column in zip(*every, strict=True))
        for row in every:
            numbers = (right(cell, width) for cell, width in zip(row[1:], others, strict=True))
            yield " ".join((left(row[0], first), *numbers)).rstrip()

    def html(self) -> str:
        head, *body = (
            "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            for tag, row in (("th", self.names), *(("td", row) for row in self.rows))
        )
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


class Picture(NamedTuple):
    """Only shown on a page."""

    markup: str


class Section(NamedTuple):
    title: str
    parts: Sequence[str | Table | Picture]


def as_text(sections: Iterable[Section]) -> Iterator[str]:
    for number, section in enumerate(sections):
        if number:
            yield ""
        for part in (section.title, *section.parts):
            if isinstance(part, str):
                yield from textwrap.wrap(part, _WIDTH)
            elif isinstance(part, Table):
                yield ""
                yield from part.lines()


def as_page(title: str, sections: Iterable[Section]) -> bytes:
    return html_page(title, (line for section in sections for line in _as_html(section)))


def _as_html(section: Section) -> Iterator[str]:
    yield f"<section><h2>{html.escape(section.title)}</h2>"
    for part in section.parts:
        if isinstance(part, str):
            yield f"<p>{html.escape(part)}</p>"
        else:
            yield part.html() if isinstance(part, Table) else part.markup
    yield "</section>"
