"""The map of worker/ in words, which worker/README.md has under `## Map`.

`python -m tests.support.layout_map` writes it there.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

WORKER: Final = Path(__file__).parents[2] / "worker"
README: Final = WORKER / "README.md"
GROUND_FLOOR: Final = "ground floor"
LUA: Final = "lua: The scripts that run inside Redis, each one atomic step."
# In reading order, from the bottom up. Unknown wings come last.
ORDER: Final = ("lua", "store", "engine", "files", "local", "commands")


def layout_map() -> str:
    """A section for each wing, with a row for each of its files."""
    return "\n\n".join(_section(folder) for folder in wings())


def parts_of_readme() -> tuple[str, str, str]:
    """worker/README.md up to its map, the map, and what comes after it."""
    before, heading, rest = README.read_text().partition("\n## Map\n")
    section, following, after = rest.partition("\n## ")
    start = section.find("### ")
    return before + heading + section[:start], section[start:].strip(), following + after


def wings() -> list[Path]:
    """All folders of worker/ that contain code, starting with worker/ itself."""
    files = (path for kind in ("*.py", "*.lua") for path in WORKER.rglob(kind))
    return sorted({path.parent for path in files}, key=_place)


def first_line(path: Path) -> str:
    """The file's description: the first line of its docstring, or of a script's comment."""
    text = path.read_text()
    if path.suffix == ".lua":
        return text.partition("\n")[0].removeprefix("--").strip()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def files_of(folder: Path) -> Iterator[Path]:
    """Files that get a row; `__init__.py` is the wing's title instead."""
    paths = (path for path in folder.iterdir() if path.suffix in {".py", ".lua"})
    yield from sorted(path for path in paths if path.name != "__init__.py")


def _place(folder: Path) -> tuple[int, str]:
    name = folder.relative_to(WORKER).as_posix()
    wing = name.partition("/")[0]
    if wing == ".":
        return -1, ""
    return (ORDER.index(wing) if wing in ORDER else len(ORDER)), name


def _section(folder: Path) -> str:
    rows = [f"| `{path.name}` | {_cell(first_line(path))} |" for path in files_of(folder)]
    return "\n".join([f"### {_title(folder)}", "", "| file | |", "|---|---|", *rows])


def _title(folder: Path) -> str:
    if folder == WORKER / "lua":
        return LUA
    name = GROUND_FLOOR if folder == WORKER else folder.relative_to(WORKER).as_posix()
    return f"{name}: {first_line(folder / '__init__.py')}"


def _cell(line: str) -> str:
    return line.removesuffix(".").replace("|", "\\|")


if __name__ == "__main__":
    before, _, after = parts_of_readme()
    README.write_text(f"{before}{layout_map()}\n{after}")
