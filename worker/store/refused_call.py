"""What Redis was asked when it refused: the command and its keys, in words."""

import re
from collections.abc import Sequence
from typing import Any, Final

_WITH_SUBCOMMANDS: Final = ("ACL", "CLIENT", "CLUSTER", "SCRIPT", "XGROUP", "XINFO")
_WITHOUT_KEYS: Final = (
    *("ACL", "CLIENT", "CLUSTER", "SCRIPT"),
    *("AUTH", "HELLO", "INFO", "MULTI", "EXEC", "PING", "SCAN", "SELECT", "TIME"),
)
_OF_PIPELINE: Final = re.compile(r"Command # [0-9]+ \((.*?)\) of pipeline caused error: ", re.S)


def call_in_words(error: BaseException) -> str:
    """Such as `XADD on market.klines`; empty if the error does not say what it refuses."""
    call: Sequence[Any] = getattr(error, "call", ())
    if not call:
        found = _OF_PIPELINE.search(str(error))
        call = found[1].split(" ") if found else ()
    words = [_text(word) for word in call]
    if not words:
        return ""
    words[:1] = words[0].split(" ")
    command = words[0].upper()
    has_subcommand = command in _WITH_SUBCOMMANDS and len(words) > 1
    name = f"{command} {words[1].upper()}" if has_subcommand else command
    if command in _WITHOUT_KEYS:
        return name
    return name + _on(_keys(command, words[2 if has_subcommand else 1 :]))


def _keys(command: str, arguments: list[str]) -> list[str]:
    if command in ("EVALSHA", "EVAL"):
        return arguments[2 : 2 + int(arguments[1])]
    if "STREAMS" in arguments:
        of_streams = arguments[arguments.index("STREAMS") + 1 :]
        return of_streams[: len(of_streams) // 2]
    return arguments[:1]


def _on(keys: list[str]) -> str:
    more = f" (and {len(keys) - 1} other keys)" if len(keys) > 1 else ""
    return f" on {keys[0]}{more}" if keys else ""


def _text(word: Any) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
