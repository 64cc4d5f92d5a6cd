"""The counters of a group, some of which may be damaged: edited by hand, or by another program."""

from collections.abc import Mapping
from typing import Any

from marketstate.worker.keys import Keys
from marketstate.worker.log import log


def numbers(counters: Mapping[bytes, bytes]) -> dict[str, int]:
    """By name, without the damaged ones."""
    return {
        name.decode(errors="backslashreplace"): int(text)
        for name, text in sorted(counters.items())
        if not name.endswith(b".damaged") and is_number(text)
    }


def is_number(text: str | bytes) -> bool:
    """Whether a worker can have written it. Damaged counters are not shown."""
    return len(text) < 20 and text.isascii() and text.isdigit()


def warn_of_damaged(keys: Keys, damaged: list[Any]) -> None:
    """`damaged` has the name of each that starts again at 0, and its old value."""
    for name, found in zip(damaged[::2], damaged[1::2], strict=True):
        log.warning(
            "the counter %s in %s was %r, which is not a number that can be counted on; it starts "
            "again at 0, and the field %s.damaged keeps the old value",
            *(name.decode(), keys.counters, found.decode(errors="replace"), name.decode()),
        )
