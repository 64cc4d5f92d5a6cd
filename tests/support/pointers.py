"""Where the code sends its readers: texts such as `see deploy/README.md, Settings`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.documents import ROOT, name_of

FOLDERS: Final = ("worker", "scripts", "deploy")
_POINTER: Final = re.compile(
    r"(?<![\w/.$}-])((?:[\w-]+/)*[\w-]+\.md(?!\.?\w)|README\b)(?:, ([A-Z][^\n]*))?"
)
# Stands for what is only known at run time: a name, a number.
_FILLED_IN: Final = "{}"


class Pointer(NamedTuple):
    place: str
    """The file that has it."""
    document: str
    heading: str
    """And what follows it in the same text; empty if the whole document is meant."""


def pointers() -> Iterator[Pointer]:
    files = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")))
    for path in files:
        if path.is_file() and path.suffix not in {".md", ".pyc", ".png"}:
            for text in _texts(path):
                for match in _POINTER.finditer(text):
                    yield Pointer(name_of(path), match[1], match[2] or "")


def _texts(path: Path) -> Iterator[str]:
    """Each on one line: the strings of a program; any other file as a whole, comments unwrapped."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from (" ".join(string.split()) for string in _strings(ast.parse(text)))
    else:
        yield re.sub(r"\n(?:#|--) *(?=\S)", " ", text)


def _strings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(
            str(part.value) if isinstance(part, ast.Constant) else _FILLED_IN
            for part in node.values
        )
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _strings(child)
