"""Problems in the keys of a group that someone should look at: symbols set aside, and TTLs.

None of them stops a worker; `check` and `verify` show them.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from worker.keys import Keys
from worker.settings import Settings
from worker.store.connection import Client

SHOWN: Final = 20
SYMBOLS_SAMPLED: Final = 100


def set_aside(client: Client, keys: Keys) -> dict[str, str]:
    """Each symbol that is set aside, and why."""
    found: Mapping[bytes, bytes]
    found = client.hgetall(keys.quarantine)  # type: ignore[assignment]
    return decoded(found)


def decoded(found: Mapping[bytes, bytes]) -> dict[str, str]:
    return {printable(symbol): printable(reason) for symbol, reason in sorted(found.items())}


def printable(raw: bytes) -> str:
    """Anyone may have written it, so control characters must not reach a terminal."""
    text = raw.decode(errors="backslashreplace")
    return text if text.isprintable() else ascii(text)[1:-1]


def some_symbols(client: Client, settings: Settings) -> list[bytes]:
    """Those with a mark, of as many shards as it takes."""
    symbols: list[bytes] = []
    for shard in range(settings.shards):
        if len(symbols) >= SYMBOLS_SAMPLED:
            break
        marks: Any = client.hgetall(settings.keys.marks(shard))
        symbols += marks
    return symbols[:SYMBOLS_SAMPLED]


def expiries(client: Client, settings: Settings, symbols: Iterable[bytes]) -> Iterator[str]:
    """The keys of the group that have a TTL although no worker sets one; only a sample of windows.

    Otherwise, a lost window, mark or input stream is noticed only when a worker needs it.
    """
    keys = [*_of_group(settings), *_windows(settings.keys, symbols)]
    with client.pipeline(transaction=False) as reads:
        for key in keys:
            reads.pttl(key)
        left_ms = reads.execute()
    expiring = [(ms, key) for key, ms in zip(keys, left_ms, strict=True) if ms >= 0]
    for ms, key in islice(sorted(expiring), SHOWN):
        yield (
            f"{printable(key)} expires in {ms / 1_000:,.0f} s: somebody has set a TTL on it, and "
            "what it holds will be lost; remove the TTL (PERSIST)"
        )
    if len(expiring) > SHOWN:
        yield f"{len(expiring) - SHOWN} more keys of {len(keys)} looked at expire"


def _of_group(settings: Settings) -> list[bytes]:
    """Without leases, which are made to expire, and the progress of a replay."""
    keys = settings.keys
    others = {keys.fed, *map(keys.lease, range(settings.shards))}
    return [key.encode() for key in keys.every(settings.shards, ()) if key not in others]


def _windows(keys: Keys, symbols: Iterable[bytes]) -> Iterator[bytes]:
    prefix = keys.window("").encode()
    return (prefix + symbol for symbol in islice(symbols, SYMBOLS_SAMPLED))
