"""Links, commands and file names in the documents work, and so do the code's links to documents."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from marketstate.worker import cli
from tests.support.command_lines import command_lines
from tests.support.documents import (
    ROOT,
    anchors,
    code_spans,
    documents,
    files_named_in,
    headings,
    links,
    name_of,
    slug_of,
)
from tests.support.pointers import Pointer, pointers

README_LINES = 150
CHANGELOG = ROOT / "CHANGELOG.md"
# The changelog keeps what was true for a release.
OF_TODAY = [path for path in documents() if path != CHANGELOG]
EVERY_DOCUMENT = pytest.mark.parametrize("document", documents(), ids=name_of)
EVERY_DOCUMENT_OF_TODAY = pytest.mark.parametrize("document", OF_TODAY, ids=name_of)


def is_broken(document: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (document.parent / file).resolve() if file else document
    if not (target.exists() and target.is_relative_to(ROOT)):
        return True
    return bool(anchor) and (target.suffix != ".md" or anchor not in anchors(target))


@EVERY_DOCUMENT
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document: Path) -> None:
    assert [link for link in links(document) if is_broken(document, link)] == []


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("When the group is gone", "when-the-group-is-gone"),
        ("How far behind is it?", "how-far-behind-is-it"),
        ("`check` -- what it _says_", "check----what-it-_says_"),
        ("See [Redis](deploy/redis/README.md), 6.2", "see-redis-62"),
        ("commands/top: `marketstate top`: live", "commandstop-marketstate-top-live"),
        ("Größe σ", "größe-σ"),
    ],
)
def test_an_anchor_is_what_github_makes_of_a_heading(heading: str, slug: str) -> None:
    assert slug_of(heading) == slug


@EVERY_DOCUMENT_OF_TODAY
def test_every_command_line_is_understood_by_the_real_parser(
    document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = {}
    for place, arguments in command_lines(document):
        try:
            cli._parser(arguments).parse_args(arguments)
        except SystemExit as end:  # 0: --help, --version
            if end.code != 0:
                refused[place] = capsys.readouterr().err.splitlines()[-1]
    assert refused == {}


def test_every_command_has_its_line_in_a_document() -> None:
    lines = (line for path in OF_TODAY for line in command_lines(path))
    shown = {name for line in lines for name in line.arguments[:1]}
    assert set(cli.COMMANDS) - shown == set()


DOCUMENT = r"""
Say `marketstate status --json`, `marketstate plot`, or `marketstate COMMAND`.
The file `marketstate.conf` is not a command.

    $ marketstate state prices.csv | head -3      # can't be wrong
    sudo venv/bin/marketstate check 2>&1 >/dev/null && quantum-marketstate verify --json
    MARKETSTATE_GROUP="a b" marketstate record 'a b.gz' \
        --follow &
    systemctl status quantum-marketstate
    marketstate  02:57:07 UTC  the worker's screen
    the worker's marketstate is well
```sh
python -m marketstate.worker top
./scripts/demo --seconds 5
```
"""


def test_command_lines_are_read_as_a_shell_reads_them(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text(DOCUMENT)
    assert [arguments for _, arguments in command_lines(document)] == [
        ["state", "prices.csv"],
        ["check"],
        ["verify", "--json"],
        ["record", "a b.gz", "--follow"],
        ["top"],
        ["demo", "--seconds", "5"],
        ["status", "--json"],
        ["plot", "--help"],
    ]


@EVERY_DOCUMENT_OF_TODAY
def test_every_file_of_the_repository_that_is_named_is_there(document: Path) -> None:
    assert [file for file in files_named_in(document) if not (ROOT / file).exists()] == []


def test_every_test_that_is_named_is_there() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    there = {path.name for path in files}
    for path in files:
        there.update(re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE))
    named = {
        (name_of(path), span)
        for path in OF_TODAY
        for span in code_spans(path)
        if re.fullmatch(r"test_\w+(\.py)?", span)
    }
    assert {(path, span) for path, span in named if span not in there} == set()
    assert len(named) > 50


def test_the_readme_is_short() -> None:
    lines = len((ROOT / "README.md").read_text().splitlines())
    assert lines <= README_LINES


def test_the_pictures_of_the_readme_are_small_and_load_nothing() -> None:
    """To make them again: `python -m tests.support.pictures`, and `tests.page.pictures`."""
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "worker/commands/pictures").iterdir():
        assert name_of(path) in readme
        assert path.stat().st_size < 100_000
        if path.suffix == ".svg":
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert "http" not in text
            ElementTree.fromstring(text)


def leads_nowhere(pointer: Pointer) -> bool:
    """A pointer has the path of a document from the root, and perhaps a heading of it."""
    document = ROOT / pointer.document
    if not document.exists():
        return True
    named = (heading for heading in headings(document) if pointer.heading.startswith(heading))
    rest = pointer.heading.removeprefix(max(named, key=len, default=""))
    return rest == pointer.heading != "" or rest[:1].isalnum()


def test_the_places_that_errors_and_help_point_to_are_there() -> None:
    found = list(pointers())
    assert [pointer for pointer in found if leads_nowhere(pointer)] == []
    assert any(pointer.heading for pointer in found)
