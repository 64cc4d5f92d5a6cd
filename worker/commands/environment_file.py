"""Environment files of the services, as systemd reads them (`EnvironmentFile=`)."""

import re
from pathlib import Path
from typing import Final

from marketstate.worker.settings import PREFIX

# A comment, a line without a value, or a name. Its first character may be any, even `=`.
_LINE: Final = re.compile(r"\s*(?:[#;][^\n\r]*|(\S[^=\n\r]*)(=)?)")
# A part of a value: in either kind of quotes, up to the end if they are left open; or without, up
# to the end of the line, whatever quotes are in it.
_PART: Final = re.compile(
    r"""[ \t]*(?:'([^']*)'?|"((?:[^"\\]|\\.)*)"?|((?:[^\\\n\r]|\\.)+))""", re.DOTALL
)
_ESCAPED_IN_QUOTES: Final = re.compile(r'\\(["\\`$\n\r])')
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_BLANKS_AT_END: Final = re.compile(r"(?<!\\)[ \t]+\Z")


def environment_file(file: Path) -> tuple[dict[str, str], str]:
    """The variables in an environment file, and why it cannot be read. Without a file, neither."""
    try:
        text = file.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, error.strerror or str(error)
    found, at = {}, 0
    while line := _LINE.match(text, at):
        at = line.end()
        if line[2]:
            value, at = _value(text, at)
            if line[1].startswith(PREFIX):
                found[line[1].rstrip()] = value
    return found, ""


def _value(text: str, at: int) -> tuple[str, int]:
    """And where it ends."""
    value = ""
    while part := _PART.match(text, at):
        at = part.end()
        single, double, plain = part.groups()
        if plain is not None:
            plain = _BLANKS_AT_END.sub("", plain)
            return value + _ESCAPED.sub(_without_line_end, plain), at
        value += single if double is None else _ESCAPED_IN_QUOTES.sub(_without_line_end, double)
    return value, at


def _without_line_end(escaped: re.Match[str]) -> str:
    """An escaped end of a line joins the two lines."""
    return escaped[1].strip("\n\r")
