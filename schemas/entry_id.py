"""The id of a stream entry, such as `1746373260000-0`: when it was written, and a number."""

from typing import Final

GREATEST: Final = 2**64 - 1
"""Of both: Redis has 64 bits for each."""


def parse_entry_id(entry_id: bytes | str) -> tuple[int, int]:
    """Time in ms and number, which compare in stream order. A missing number is 0, as in XRANGE."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    ms, _, number = text.partition("-")
    return int(ms), int(number or 0)


def entry_time_ms(entry_id: bytes | str) -> int:
    """When the entry was written, by Redis's clock, unless its id was set by hand."""
    return parse_entry_id(entry_id)[0]
