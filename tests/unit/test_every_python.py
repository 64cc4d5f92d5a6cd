"""`scripts/test-pythons`: what it says of a Python that it cannot have, or that has no kernel."""

import sys
from pathlib import Path

import pytest

from tests.pythons import __main__ as pythons
from tests.pythons.environments import way
from tests.pythons.found import Python, program_of
from tests.servers.debian import NotHad


def test_what_cannot_be_had_is_said_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pythons.rows_of(Python("1.0"), Path("a.whl"), [])
    assert rows == [{"name": "1.0", "version": "cannot be had here"}]
    assert "there is no python1.0 on the PATH" in capsys.readouterr().out


def test_a_stand_in_on_the_path_that_does_not_run_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python1.0"
    stand_in.write_text("#!/bin/sh\nexit 127\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(NotHad):
        program_of(Python("1.0"))
    stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert program_of(Python("1.0")) == stand_in


def test_a_kernel_where_there_should_be_none_is_a_failure(tmp_path: Path) -> None:
    python = Path(sys.executable)
    found = way(python)
    other = "not compiled" if found == "compiled" else "compiled"
    row = pythons._tested(python, "1.0", "1.0.0", other, [str(tmp_path)])
    assert row == {"name": "1.0", "version": "1.0.0", "kernel": found, "failed": 1}


def test_a_name_that_is_not_in_the_list_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["test-pythons", "1.0", "--", "-x"])
    with pytest.raises(SystemExit, match="2"):
        pythons.main()
    assert "there is no '1.0'; there are 3.11, 3.12," in capsys.readouterr().err
