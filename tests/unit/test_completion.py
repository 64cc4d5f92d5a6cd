"""What shells complete, and the man page: all that the parser has, by its names."""

import argparse
import io
import re
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from marketstate.worker.cli import COMMANDS, main, parser_of
from marketstate.worker.commands.completion import SHELLS
from tests.support.documents import ROOT

MAN_PAGE: Final = ROOT / "deploy/man/marketstate.1"
EVERY_COMMAND: Final = pytest.mark.parametrize("name", COMMANDS)


@cache
def script(shell: str, program: str = "marketstate") -> str:
    with redirect_stdout(io.StringIO()) as printed:
        assert main(["completion", shell, "--program", program]) == 0
    return printed.getvalue()


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (
        action for action in parser_of()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(commands.choices)


def options(name: str) -> list[str]:
    return list(chain.from_iterable(action.option_strings for action in parsers()[name]._actions))


def in_bash(line: str, folder: Path) -> list[str]:
    """What bash offers for the last word of the line."""
    (folder / "completion").write_text(script("bash", "quantum-marketstate"))
    words = line.split(" ")
    asking = (
        'source completion; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_shtab_quantum_marketstate; printf "%s\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asking, "bash", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(word.strip() for word in done.stdout.splitlines())


def test_bash_completes_commands_options_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").touch()
    assert in_bash("quantum-marketstate st", tmp_path) == ["state", "status"]
    assert in_bash("quantum-marketstate verify --max-", tmp_path) == [
        "--max-age",
        "--max-lag",
        "--max-state-age",
    ]
    assert in_bash("quantum-marketstate completion f", tmp_path) == ["fish"]
    assert in_bash("quantum-marketstate state pri", tmp_path) == ["prices.csv"]
    assert in_bash("quantum-marketstate serve --unix pri", tmp_path) == ["prices.csv"]
    (tmp_path / "prices").mkdir()
    assert in_bash("quantum-marketstate demo --data pri", tmp_path) == ["prices"]


@EVERY_COMMAND
@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_knows_each_command_and_its_options(shell: str, name: str) -> None:
    text = script(shell)
    assert re.search(rf"\b{name}\b", text)
    for option in options(name):
        # fish has them without dashes.
        bare = option.lstrip("-")
        assert re.search(rf"(-l |-s )?['\"]?{bare}\b", text) if shell == "fish" else option in text


@EVERY_COMMAND
def test_the_man_page_says_what_the_help_says(name: str) -> None:
    """If this fails, run `scripts/manual`."""
    section = sections()[name]
    told = plain(section)
    for action in parsers()[name]._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        assert [option for option in action.option_strings if option not in told] == []
        expanded = parsers()[name]._get_formatter()._expand_help(action) if action.help else ""
        assert plain(expanded) in told
    mentioned = set(re.findall(r"^\\fB(--[\w-]+)", section.replace("\\-", "-"), re.MULTILINE))
    assert mentioned <= set(options(name))


@cache
def sections() -> dict[str, str]:
    """The part of the man page on each command."""
    commands, _, _ = MAN_PAGE.read_text().rpartition("\n.SH OPTIONS\n")
    _, *parts = re.split(r"^\.SH COMMAND .*'marketstate (\w+)'.*$", commands, flags=re.MULTILINE)
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    assert found.keys() == COMMANDS.keys()
    return found


def plain(text: str) -> str:
    """Without what troff needs, on one line: also without its requests, which it does not show."""
    shown = re.sub(r"^[.'].*$", "", text, flags=re.MULTILINE)
    return " ".join(shown.replace("\\-", "-").replace("\\&", "").replace("\\\\", "\\").split())


def test_without_shtab_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    said = capsys.readouterr().err
    assert "completion needs shtab, which is not installed" in said
    assert "scripts/deploy.sh has installed what it prints" in said
