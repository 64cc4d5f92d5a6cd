"""Patterns of key names as Redis's SCAN reads them: `*`, `?`, `[a-z]`, `[^a]` and a backslash."""

import re
from functools import lru_cache

SPECIAL = frozenset("*?[\\")


def is_pattern(name: str) -> bool:
    return not SPECIAL.isdisjoint(name)


def matches(pattern: str, name: str) -> bool:
    return _regex(pattern.encode()).fullmatch(name.encode()) is not None


@lru_cache
def _regex(pattern: bytes) -> re.Pattern[bytes]:
    parts, at = [], 0
    while at < len(pattern):
        one = pattern[at : at + 1]
        at += 1
        if one == b"*":
            parts.append(b".*")
        elif one == b"?":
            parts.append(b".")
        elif one == b"[":
            part, at = _one_of(pattern, at)
            parts.append(part)
        else:
            if one == b"\\" and at < len(pattern):
                one, at = pattern[at : at + 1], at + 1
            parts.append(re.escape(one))
    return re.compile(b"".join(parts), re.DOTALL)


def _one_of(pattern: bytes, at: int) -> tuple[bytes, int]:
    """What stands in brackets, from `at` on, and where it ends. Without a closing bracket, the end
    of the pattern closes it.
    """
    is_not = pattern[at : at + 1] == b"^"
    at += is_not
    allowed: set[int] = set()
    while at < len(pattern) and pattern[at] != ord("]"):
        if pattern[at] == ord("\\") and at + 1 < len(pattern):
            allowed.add(pattern[at + 1])
            at += 2
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            first, last = sorted((pattern[at], pattern[at + 2]))
            allowed |= set(range(first, last + 1))
            at += 3
        else:
            allowed.add(pattern[at])
            at += 1
    if is_not:
        allowed = set(range(256)) - allowed
    one_of = b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(allowed)) + b"]"
    return one_of if allowed else b"(?!)", at + 1
