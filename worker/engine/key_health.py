"""Problems in the keys of a group: other types, symbols that are set aside, and TTLs.

Only a wrong type of a key that all symbols need stops a worker; `check` and `verify` show the rest.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final

import redis

from marketstate.worker.errors import WrongKeyType
from marketstate.worker.keys import Keys
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.store.connection import Client

SHOWN: Final = 20
SYMBOLS_SAMPLED: Final = 100


def check_types(client: Client, settings: Settings) -> None:
    """Raises WrongKeyType for the first key of another type. The quarantine may have one: the group
    works without it, see `set_aside`.
    """
    keys, shards = settings.keys, range(settings.shards)
    expected = {
        keys.input: "stream",
        keys.output_stream: "stream",
        keys.dead_stream: "stream",
        keys.meta: "hash",
        keys.members: "hash",
        keys.counters: "hash",
        keys.notices: "stream",
        keys.handed_over: "stream",
        keys.unfinished: "hash",
        keys.finished_ids: "hash",
        keys.commits: "hash",
        keys.epoch: "string",
        **{keys.lease(shard): "string" for shard in shards},
        **{keys.marks(shard): "hash" for shard in shards},
    }
    for each in settings.longer:
        expected |= {each.keys.output_stream: "stream"}
        expected |= {each.keys.marks(shard): "hash" for shard in shards}
    with client.pipeline(transaction=False) as reads:
        for key in expected:
            reads.type(key)
        found = [kind.decode() for kind in reads.execute()]
    for (key, wanted), kind in zip(expected.items(), found, strict=True):
        if kind not in (wanted, "none"):
            raise WrongKeyType(
                f"the key {key} holds a {kind}, but the worker needs a {wanted}; rename or delete "
                f"it, or choose other keys ({PREFIX}INPUT_STREAM, _OUTPUT_STREAM, ...)"
            )


@contextmanager
def naming_wrong_types(client: Client, settings: Settings) -> Iterator[None]:
    """Instead of Redis's error, which does not say which key it is. Raises WrongKeyType."""
    try:
        yield
    except redis.ResponseError as error:
        if "WRONGTYPE" in str(error):
            check_types(client, settings)
        raise


def set_aside(client: Client, keys: Keys) -> tuple[dict[str, str], str]:
    """Each symbol that is set aside and why; and why that cannot be shown, or an empty text."""
    found: Any
    try:
        found = client.hgetall(keys.quarantine)
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        return {}, (
            f"the key {keys.quarantine} is not a hash, so nobody can see which symbols are set "
            "aside; rename or delete it, and the workers write it again"
        )
    return {printable(symbol): printable(why) for symbol, why in sorted(found.items())}, ""


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
    some = [*islice(symbols, SYMBOLS_SAMPLED)]
    windows = (_windows(each.keys, some) for each in settings.each_interval)
    keys = [*_of_group(settings), *chain.from_iterable(windows)]
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
    keys, shards = settings.keys, settings.shards
    others = {keys.fed, *map(keys.lease, range(shards))}
    every = keys.every(shards, ())
    every += [key for each in settings.longer for key in each.keys.of_interval(shards, ())]
    return [key.encode() for key in every if key not in others]


def _windows(keys: Keys, symbols: Iterable[bytes]) -> Iterator[bytes]:
    prefix = keys.window("").encode()
    return (prefix + symbol for symbol in symbols)
