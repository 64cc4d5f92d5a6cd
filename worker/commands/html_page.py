"""The frame of every HTML page that a command writes: a single file that loads nothing.

Its Content-Security-Policy forbids loading anything.
"""

import html
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Final

from marketstate.worker.commands.palette import palette_css
from marketstate.worker.errors import ConfigurationError

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_HEAD: Final = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
)


def html_page(title: str, body: Iterable[str], script: str = "") -> bytes:
    """`title` is text and becomes the heading; `body` is HTML, `script` a module."""
    escaped = html.escape(title)
    style = palette_css() + (files(__package__) / "page.css").read_text()
    parts = (
        "<!DOCTYPE html>",
        f'<html lang="en"><head>{_HEAD}',
        f"<title>{escaped}</title><style>{style}</style></head><body>",
        f"<h1>{escaped}</h1>",
        *body,
        f"{_module(script) if script else ''}</body></html>\n",
    )
    return "\n".join(parts).encode()


def _module(script: str) -> str:
    return f'<script type="module">{script}</script>'


def key_of(regime: str) -> str:
    """Its colour, as HTML."""
    return f'<span><i style="background: var(--{regime})"></i>{regime}</span>'


def refuse_page(option: str, path: Path) -> None:
    """Raises ConfigurationError for a page that cannot be written, before it is calculated."""
    if path.suffix != ".html":
        raise ConfigurationError(f"{option} {path} must end in .html")
    if not path.parent.is_dir():
        raise ConfigurationError(f"cannot write {path}: there is no folder {path.parent}")


def save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
