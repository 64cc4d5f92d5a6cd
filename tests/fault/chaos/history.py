"""What a run leaves for the checker: everything is read from Redis, and written to one file.

Each line is JSON, `[kind, what]`. Bytes are text here; bytes that are not UTF-8 are lone
surrogates, which JSON can represent and `as_bytes` converts back.
"""

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

import redis

from tests.fault.chaos import notes
from tests.fault.chaos.names import GROUP, Names

ENTRIES_PER_READ = 5_000

Entry = tuple[str, dict[str, str]]
ENTRIES = ("inputs", "outputs", "dead")


@dataclass
class History:
    settings: dict[str, Any]
    """Seed, theta (complete), window_size, publish_interval_ms, interval, interval_ms,
    max_ahead_ms, and start_id, up to which the group must not read.
    """
    faults: list[list[Any]] = field(default_factory=list)
    """Seconds since the start, and the fault."""
    complaints: list[str] = field(default_factory=list)
    """Misbehaviour of workers that the harness itself saw."""
    inputs: list[Entry] = field(default_factory=list)
    outputs: list[Entry] = field(default_factory=list)
    dead: list[Entry] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    """What faults did to the data; see notes.py."""
    counters: dict[str, str] = field(default_factory=dict)
    group: dict[str, Any] = field(default_factory=dict)
    """What XINFO says about the group, and the stream's last id."""
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    """The hash of each symbol, its fields in their order."""
    records: dict[str, str] = field(default_factory=dict)
    """The record of each symbol that is beside its hash."""
    windows: dict[str, list[str]] = field(default_factory=dict)
    """The window of each symbol, in hex."""
    longer: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For each longer interval the outputs, states, records and windows, and the reference."""
    reference: dict[str, dict[str, str]] | None = None
    """For each symbol, by close time, the digests of the records that a single undisturbed worker
    publishes.
    """

    def of_interval(self, name: str) -> "History":
        """As if that was the interval of the candles."""
        settings = self.settings | {"interval": name, "interval_ms": self.settings["longer"][name]}
        return replace(self, settings=settings, **self.longer[name])


def as_text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")


def as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def id_of(entry_id: str) -> tuple[int, int]:
    """For comparing ids."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)


def digest(record: str) -> str:
    return sha256(as_bytes(record)).hexdigest()[:16]


def collect(client: redis.Redis, names: Names, history: History) -> None:
    """Fill in everything that Redis knows."""
    history.inputs = list(stream_entries(client, names.input))
    history.dead = list(stream_entries(client, names.dead))
    counters: Any = client.hgetall(names.counters)
    history.counters = {as_text(name): as_text(value) for name, value in counters.items()}
    history.notes = notes.read(client, names)
    history.group = _group(client, names)
    vars(history).update(_of_interval(client, names))
    history.longer = {
        name: _of_interval(client, names.of_interval(name)) for name in history.settings["longer"]
    }


def _of_interval(client: redis.Redis, names: Names) -> dict[str, Any]:
    """What each interval has of its own."""
    return {
        "outputs": list(stream_entries(client, names.output)),
        "states": {
            key.removeprefix(names.state_prefix): _texts(
                cast("dict[bytes, bytes]", client.hgetall(key))
            )
            for key in _keys(client, names.state_prefix)
        },
        "records": {
            key.removeprefix(names.record_prefix): as_text(cast("bytes", client.get(key)))
            for key in _keys(client, names.record_prefix)
        },
        "windows": {
            key.removeprefix(names.window_prefix): [
                packed.hex() for packed in cast("list[bytes]", client.lrange(key, 0, -1))
            ]
            for key in _keys(client, names.window_prefix)
        },
    }


def stream_entries(client: redis.Redis, stream: str) -> Iterator[Entry]:
    after = "-"
    while some := cast("list[Any]", client.xrange(stream, after, count=ENTRIES_PER_READ)):
        for entry_id, fields in some:
            yield as_text(entry_id), _texts(fields)
        after = f"({as_text(some[-1][0])}"


def digests(outputs: Iterable[Entry]) -> dict[str, dict[str, str]]:
    """For each symbol, by close time, the digests of its records."""
    by_symbol: dict[str, dict[str, str]] = {}
    for _, fields in outputs:
        at_ms = str(json.loads(fields["record"])["close_time_ms"])
        by_symbol.setdefault(fields["symbol"], {})[at_ms] = digest(fields["record"])
    return by_symbol


def write(history: History, path: Path) -> None:
    with _open(path, "wt") as file:
        for kind, value in vars(history).items():
            for item in value if isinstance(value, list) else [value]:
                file.write(json.dumps([kind, item]) + "\n")


def read(path: Path) -> History:
    history = History(settings={})
    with _open(path, "rt") as file:
        for line in file:
            kind, item = json.loads(line)
            if isinstance(getattr(history, kind), list):
                getattr(history, kind).append(tuple(item) if kind in ENTRIES else item)
            else:
                setattr(history, kind, item)
    return history


def _group(client: redis.Redis, names: Names) -> dict[str, Any]:
    groups = client.xinfo_groups(names.input)
    found = next((group for group in groups if group["name"] == GROUP.encode()), {})
    stream = client.xinfo_stream(names.input)
    found["last-generated-id"] = stream["last-generated-id"]
    return {
        name: as_text(value) if isinstance(value, bytes) else value for name, value in found.items()
    }


def _texts(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {as_text(name): as_text(value) for name, value in fields.items()}


def _keys(client: redis.Redis, prefix: str) -> list[str]:
    return sorted(as_text(key) for key in client.scan_iter(match=f"{prefix}*", count=1_000))


def _open(path: Path, mode: str) -> IO[str]:
    if path.suffix == ".gz":
        return cast("IO[str]", gzip.open(path, mode, compresslevel=3))
    return path.open(mode)
