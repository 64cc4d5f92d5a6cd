"""What a group keeps in Redis, found by its own bookkeeping, and removed some keys at a time.

No SCAN: a pattern could match the keys of another group, whose name begins like ours.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from marketstate.schemas.interval import INTERVAL_PATTERN
from marketstate.worker.engine.group import number_of_shards
from marketstate.worker.engine.key_health import printable
from marketstate.worker.settings import LONGEST_LEASE_S, Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client

KEYS_AT_ONCE: Final = 1_000
INTERVAL_FIELD: Final = b"interval:"
"""What the fields of `meta` start with that name the longer intervals, see setup.lua."""
_MEMBER: Final = re.compile(rb"([0-9]{1,18}):([0-9]{1,18}):")


def shards_of(client: Client, settings: Settings) -> int:
    """As many as the group was created with; without a group, those of the settings. Raises
    RedisUnusable if that cannot be.
    """
    found: Any = client.hget(settings.keys.meta, "shards")
    return settings.shards if found is None else number_of_shards(settings, found)


def intervals_of(client: Client, settings: Settings) -> list[Settings]:
    """The settings of every interval that the group has or had: one that is taken out of the
    settings leaves its keys behind.
    """
    fields: Any = client.hkeys(settings.keys.meta)
    had = {
        printable(field.removeprefix(INTERVAL_FIELD))
        for field in fields
        if field.startswith(INTERVAL_FIELD)
    }
    has = {each.longer_interval for each in settings.longer}
    gone = (
        settings.of_longer(name) for name in sorted(had - has) if re.match(INTERVAL_PATTERN, name)
    )
    return [*settings.each_interval, *gone]


def symbols_of(client: Client, settings: Settings) -> list[str]:
    """Every symbol that has a window or a state: it has a mark. A name that is not UTF-8 text is
    damage, and no key is made of it.
    """
    with client.pipeline(transaction=False) as reads:
        for shard in range(shards_of(client, settings)):
            reads.hkeys(settings.keys.marks(shard))
        names = [name for of_shard in reads.execute() for name in of_shard]
    return [name.decode() for name in names if _is_text(name)]


def existing(client: Client, keys: Sequence[str]) -> int:
    """How many of the keys there are."""
    return sum(client.exists(*some) for some in _in_parts(keys))


def unlink(client: Client, keys: Sequence[str]) -> int:
    """How many of the keys there were."""
    return sum(int(client.unlink(*some)) for some in _in_parts(keys))


def living(client: Client, members: str) -> list[str]:
    """The ids of the workers that are live, by the hash `members` and Redis's clock. Unlike for
    worker/lua/members.lua, one that was seen in the future may be: its keys are not removed.
    """
    found: Any = client.hgetall(members)
    time: Any = client.time()
    now_ms = clock_ms(time)
    return sorted(printable(name) for name, entry in found.items() if _is_live(entry, now_ms))


def _is_live(entry: bytes, now_ms: float) -> bool:
    times = _MEMBER.match(entry)
    if times is None:
        return False
    seen_ms, lease_ms = map(int, times.groups())
    return now_ms - seen_ms <= lease_ms <= LONGEST_LEASE_S * 1_000


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _in_parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[i : i + KEYS_AT_ONCE] for i in range(0, len(keys), KEYS_AT_ONCE))
