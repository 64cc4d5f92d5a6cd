"""What a group keeps in Redis, found by its own bookkeeping, and removed some keys at a time.

No SCAN: a pattern could match the keys of another group, whose name begins like ours.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from marketstate.schemas.interval import INTERVAL_PATTERN
from marketstate.worker.engine.group import shards_in
from marketstate.worker.engine.key_health import printable
from marketstate.worker.settings import Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client

KEYS_AT_ONCE: Final = 1_000
_MEMBER: Final = re.compile(rb"([0-9]{1,18}):([0-9]{1,18}):")
INTERVAL_FIELD: Final = b"interval:"
"""What the fields of `meta` start with that name the longer intervals, see setup.lua."""


def shards_of(client: Client, settings: Settings) -> int:
    """As many as the group was created with; without a group, those of the settings."""
    found: Any = client.hget(settings.keys.meta, "shards")
    return settings.shards if found is None else shards_in(found, settings.keys)


def intervals_of(client: Client, settings: Settings) -> list[Settings]:
    """The settings of every interval that the group has or had: one that is taken out of the
    settings leaves its keys behind.
    """
    fields: Any = client.hkeys(settings.keys.meta)
    had = {
        field.removeprefix(INTERVAL_FIELD).decode(errors="replace")
        for field in fields
        if field.startswith(INTERVAL_FIELD)
    }
    has = {each.longer_interval for each in settings.longer}
    gone = (
        settings.of_longer(name) for name in sorted(had - has) if re.match(INTERVAL_PATTERN, name)
    )
    return [*settings.each_interval, *gone]


def symbols_of(client: Client, settings: Settings) -> list[str]:
    """Every symbol that has a window or a state: it has a mark. A field that is no text, which no
    worker has written, becomes a name that nothing has.
    """
    with client.pipeline(transaction=False) as reads:
        for shard in range(shards_of(client, settings)):
            reads.hkeys(settings.keys.marks(shard))
        found = [symbol for of_shard in reads.execute() for symbol in of_shard]
    return [symbol.decode(errors="replace") for symbol in found]


def existing(client: Client, keys: Sequence[str]) -> int:
    """How many of the keys there are."""
    return sum(client.exists(*some) for some in _in_parts(keys))


def unlink(client: Client, keys: Sequence[str]) -> int:
    """How many of the keys there were."""
    return sum(int(client.unlink(*some)) for some in _in_parts(keys))


def living(client: Client, members: str) -> list[str]:
    """The ids of the workers that are live, by the hash `members` and Redis's clock.

    One that was seen in the future counts, unlike in worker/lua/members.lua: after a clock was set
    back it may be live, and the caller is about to remove what it needs.
    """
    found: Any = client.hgetall(members)
    time: Any = client.time()
    now_ms = clock_ms(time)
    members_found = ((printable(name), _MEMBER.match(entry)) for name, entry in found.items())
    return sorted(
        name
        for name, member in members_found
        if member and now_ms - int(member[1]) <= int(member[2])
    )


def _in_parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[i : i + KEYS_AT_ONCE] for i in range(0, len(keys), KEYS_AT_ONCE))
