"""Which server answers, by its own name and version.

Valkey and Redict also report `redis_version` 7.2.4: the Redis that they began as.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class ServerVersion(NamedTuple):
    name: str
    numbers: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.numbers))}"


def server_version(info: Mapping[str, Any]) -> ServerVersion:
    """`info` is the reply to `INFO`."""
    for name in ("Valkey", "Redict", "Redis"):
        if told := info.get(f"{name.lower()}_version"):
            break
    parts = [int(part) for part in re.findall(r"\d+", str(told))]
    major, minor, patch, *_ = [*parts, 0, 0, 0]
    return ServerVersion(name, (major, minor, patch))
