"""What is published of a symbol, and whether another program has written to it.

The publisher that many systems had before writes hashes and entries like ours, under the same
names, but without a record. `check`, `status`, `verify` and each worker at its start look for them.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

import msgspec
import redis
from redis.client import Pipeline

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.schemas.market_state import (
    MarketStateRecord,
    UnknownRecord,
    UnknownSchema,
    decode_market_state,
    decode_record,
    hash_fields,
    own_record,
)
from marketstate.worker.engine.key_health import SYMBOLS_SAMPLED, printable
from marketstate.worker.keys import Keys
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.newest import some_newest
from marketstate.worker.store.snapshot import read_together

_TO_DO: Final = "stop that program, or give it other keys"


class Published(NamedTuple):
    """Read from Redis at one moment."""

    fields: Mapping[bytes, bytes]
    """The hash; empty if there is none."""
    encoded: bytes | None
    """The record: that of the hash, if a 0.1 worker wrote it last, or the one with its own key."""

    def record(self) -> MarketStateRecord:
        """Raises UnknownRecord if there is none that can be read."""
        if self.encoded is None:
            raise UnknownRecord("its hash has no record: another program wrote it")
        return decode_record(self.encoded)

    def disagreement(self, record: MarketStateRecord) -> str:
        """The first field of the hash that does not say what its record does; empty if all do."""
        for name, value in msgspec.structs.asdict(hash_fields(record)).items():
            found = self.fields.get(name.encode())
            if found is None:
                return f"its hash has no field {name!r}: another program has written to it"
            if found != value.encode():
                return (
                    f"{name} of its hash is {found!r}, but its record says {value!r}: another "
                    "program has written to it"
                )
        return ""


def queue_reads_of(reads: Pipeline, keys: Keys, symbol: str) -> None:
    reads.hgetall(keys.state(symbol))
    reads.get(keys.record(symbol))


def published_of(fields: Mapping[bytes, bytes], encoded: bytes | None) -> Published:
    """From the two replies to `queue_reads_of`."""
    own: bytes | None = own_record(fields)
    return Published(fields, encoded if own is None else own)


class OthersEntries(NamedTuple):
    """Entries among the last ones of the output stream that another program wrote."""

    found: int
    looked_at: int
    newest_id: bytes
    symbols: list[str]

    def text(self, stream: str) -> str:
        symbol = f" ({printable(self.symbols[0].encode())})" if self.symbols else ""
        return (
            f"{self.found} of the last {self.looked_at} entries of {stream} have no record that "
            f"can be read, such as {self.newest_id.decode()}{symbol}: another program writes to "
            f"this stream; {_TO_DO}"
        )

    @property
    def newest_ms(self) -> int:
        return entry_time_ms(self.newest_id)


def others_entries(client: Client, settings: Settings) -> OthersEntries | None:
    """None if all of the last entries are states."""
    entries = some_newest(client, settings.keys.output_stream)
    others = [(entry_id, fields) for entry_id, fields in entries[::-1] if not _is_state(fields)]
    if not others:
        return None
    symbols = {fields.get(b"symbol", b"").decode(errors="replace"): None for _, fields in others}
    return OthersEntries(
        len(others), len(entries), others[0][0], [each for each in symbols if each]
    )


def others_hashes(client: Client, settings: Settings, symbols: Iterable[str]) -> str:
    """The hashes of these symbols that another program wrote or wrote to, in words; empty if there
    are none. Only a sample is looked at.
    """
    some = list(islice(dict.fromkeys(symbols), SYMBOLS_SAMPLED))

    def ask(reads: Pipeline) -> None:
        for symbol in some:
            queue_reads_of(reads, settings.keys, symbol)

    replies = read_together(client, ask, raise_on_error=False) if some else []
    found = {
        symbol: why
        for symbol, fields, encoded in zip(some, replies[::2], replies[1::2], strict=True)
        if not isinstance(fields, redis.RedisError) and not isinstance(encoded, redis.RedisError)
        if (why := _not_ours(published_of(fields, encoded)))
    }
    if not found:
        return ""
    first, why = next(iter(found.items()))
    return (
        f"{len(found)} of {len(some)} hashes looked at are not as a worker leaves them, such as "
        f"{printable(settings.keys.state(first).encode())}: {why}; {_TO_DO}"
    )


def others_in_words(client: Client, settings: Settings, symbols: Iterable[str]) -> Iterator[str]:
    """Where another program writes our keys, for hashes of `symbols` and of what it publishes."""
    entries = others_entries(client, settings)
    if entries:
        yield entries.text(settings.keys.output_stream)
    theirs = entries.symbols if entries else []
    if text := others_hashes(client, settings, [*theirs, *symbols]):
        yield text


def _is_state(fields: Mapping[bytes, bytes]) -> bool:
    try:
        decode_market_state(fields)
    except UnknownSchema:
        return True
    except UnknownRecord:
        return False
    return True


def _not_ours(published: Published) -> str:
    """Why a hash is not as a worker leaves it; empty if it is, or if there is none."""
    if not published.fields:
        return ""
    try:
        record = published.record()
    except UnknownSchema:
        return ""
    except UnknownRecord as error:
        return str(error)
    wanted = {*hash_fields(record).__struct_fields__, "record"}
    more = [name for name in published.fields if name.decode(errors="replace") not in wanted]
    if more:
        return f"it has the field {printable(more[0])}, which the next state removes"
    return published.disagreement(record)
