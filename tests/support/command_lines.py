"""The `marketstate` command lines in the documents, split as a shell splits them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.documents import code_spans, lines

# The first line of `marketstate top` has two spaces after the word.
_OURS: Final = re.compile(r"marketstate\b(?! {2})|-m marketstate\.worker\b|scripts/demo\b")
_PROGRAMS: Final = ("marketstate", "quantum-marketstate")
_SPAN: Final = re.compile(r"(?:quantum-)?marketstate [^.]")
_OPERATORS: Final = {"|", "||", "|&", "&&", ";", "&", "(", ")"}
_REDIRECTION: Final = re.compile(r"&?[<>]+&?")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=")
_BEFORE_A_COMMAND: Final = {"$", "sudo", "exec", "time", "nohup", "env", "if", "then", "do", "!"}


class CommandLine(NamedTuple):
    place: str
    arguments: list[str]


def command_lines(document: Path) -> Iterator[CommandLine]:
    """The command lines in code blocks and in the text, except ones like `marketstate COMMAND`.

    In the text, `marketstate plot` only names the command, so it is given `--help`.
    """
    pending, begins = "", 0
    for line in lines(document):
        if line.in_code:
            begins = begins if pending else line.number
            pending += line.text.strip()
            if pending.endswith("\\"):
                pending = pending[:-1] + " "
            else:
                yield from _found(pending, f"line {begins}")
                pending = ""
    for span in code_spans(document):
        if _SPAN.match(span):
            for place, arguments in _found(span, f"`{span}`"):
                if not "".join(arguments[:1]).isupper():
                    is_name = len(arguments) == 1
                    yield CommandLine(place, [*arguments, "--help"] if is_name else arguments)


def _found(text: str, place: str) -> Iterator[CommandLine]:
    if _OURS.search(text):
        for words in _simple_commands(text):
            arguments = _arguments(words)
            if arguments is not None:
                yield CommandLine(place, arguments)


def _simple_commands(text: str) -> Iterator[list[str]]:
    """The commands between pipes, `&&` and so on, without comments and redirections."""
    words: list[str] = []
    redirected = False
    for token in _tokens(text):
        if redirected:
            redirected = False
        elif token in _OPERATORS:
            yield words
            words = []
        elif _REDIRECTION.fullmatch(token):
            redirected = True
            if words and words[-1].isdigit():
                words.pop()  # which one is redirected: 2>&1
        else:
            words.append(token)
    yield words


def _tokens(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="()<>|&;")
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return text.split()  # the output of a command may have an unclosed quote


def _arguments(words: list[str]) -> list[str] | None:
    """The arguments of `marketstate`; None if it is another program."""
    while words and (words[0] in _BEFORE_A_COMMAND or _ASSIGNMENT.match(words[0])):
        words = words[1:]
    match words:
        case ["quantum-marketstate", "--instance", _, *arguments]:
            return arguments
        case [program, *arguments] if program.rpartition("/")[2] in _PROGRAMS:
            return arguments
        case [_, "-m", "marketstate.worker", *arguments]:
            return arguments
        case [program, *arguments] if program.endswith("scripts/demo"):
            return ["demo", *arguments]
    return None
