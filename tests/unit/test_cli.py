"""What `marketstate` makes of its command line before a command has it."""

import pytest

from marketstate.worker import cli


def test_an_unknown_option_is_answered_with_those_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["purge", "--yess-please"])
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: marketstate purge [-h] [--outputs] [--yes]"
    assert error == "marketstate purge: error: unrecognized arguments: --yess-please"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("statsu", "did you mean status?"),
        ("verfiy", "did you mean verify?"),
        ("everything", "marketstate --help lists all"),
    ],
)
def test_a_mistyped_command_is_answered_with_what_was_meant(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word, "--json"]) == 2
    assert capsys.readouterr().err == f"marketstate: {word!r} is not a command; {hint}\n"
