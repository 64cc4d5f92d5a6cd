"""The files of the page, from the package, all read at the start: no path is looked up later."""

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

INDEX: Final = "index.html"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
}


class PageFile(NamedTuple):
    content: bytes
    content_type: str
    etag: str


def page_files() -> dict[str, PageFile]:
    return {one.name: _read(one) for one in _served(files(__package__) / "page")}


def _served(folder: Traversable) -> Iterator[Traversable]:
    for one in folder.iterdir():
        if one.is_file() and one.name.rpartition(".")[2] in _TYPES:
            yield one


def _read(file: Traversable) -> PageFile:
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    return PageFile(content, _TYPES[file.name.rpartition(".")[2]], f'"{digest}"')
