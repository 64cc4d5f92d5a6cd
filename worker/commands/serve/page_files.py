"""The files of the page, from the package, all read at the start: no path is looked up later."""

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Final, NamedTuple

from marketstate.worker.commands.palette import palette_css

INDEX: Final = "index.html"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class PageFile(NamedTuple):
    content: bytes
    content_type: str
    etag: str


def page_files() -> dict[str, PageFile]:
    return {
        name: _file(_TYPES[kind], content)
        for name, content in _contents()
        if (kind := name.rpartition(".")[2]) in _TYPES
    }


def _contents() -> Iterator[tuple[str, bytes]]:
    """Those of the page alone, and what it shares with other pages and pictures."""
    for one in (files(__package__) / "page").iterdir():
        yield one.name, one.read_bytes()
    yield "plots.js", (files("marketstate.worker.commands") / "plots.js").read_bytes()
    yield "palette.css", palette_css().encode()


def _file(content_type: str, content: bytes) -> PageFile:
    digest = hashlib.sha256(content).hexdigest()[:32]
    return PageFile(content, content_type, f'"{digest}"')
