"""What Redis must allow a worker: each command it uses, on each key it uses it on.

This is the only list of it. tests/integration/test_rights.py compares it with the scripts, with
what workers really do, and with deploy/redis/users.acl.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import AskError

from marketstate.worker.engine import other_partitions
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.settings import Settings
from marketstate.worker.store import connection
from marketstate.worker.store.refusal import RIGHTS, UNKNOWN_COMMAND, refusal_of

# A call of each command, which Redis checks but never executes. K stands for the key.
_CALLS: Final = {
    "cluster|slots": "CLUSTER SLOTS",
    "del": "DEL K",
    "evalsha": "EVALSHA 0 1 K",
    "exists": "EXISTS K",
    "get": "GET K",
    "hdel": "HDEL K field",
    "hexists": "HEXISTS K field",
    "hget": "HGET K field",
    "hgetall": "HGETALL K",
    "hlen": "HLEN K",
    "hset": "HSET K field value",
    "lrange": "LRANGE K 0 0",
    "ltrim": "LTRIM K 0 0",
    "mget": "MGET K",
    "pexpire": "PEXPIRE K 1",
    "pttl": "PTTL K",
    "rpush": "RPUSH K value",
    "script|load": "SCRIPT LOAD text",
    "set": "SET K value",
    "time": "TIME",
    "type": "TYPE K",
    "xack": "XACK K group 0-0",
    "xadd": "XADD K * name value",
    "xclaim": "XCLAIM K group consumer 0 0-0",
    "xgroup|create": "XGROUP CREATE K group 0",
    "xgroup|setid": "XGROUP SETID K group 0",
    "xinfo|groups": "XINFO GROUPS K",
    "xinfo|stream": "XINFO STREAM K",
    "xpending": "XPENDING K group",
    "xrange": "XRANGE K - +",
    "xread": "XREAD STREAMS K $",
    "xreadgroup": "XREADGROUP GROUP group consumer STREAMS K >",
    "xrevrange": "XREVRANGE K + -",
    "zrange": "ZRANGE K 0 0",
}
# Stands for every symbol, if the settings name none.
_ANY_SYMBOL: Final = "BTCUSDT"
_COMMANDS_SHOWN: Final = 5


class Right(NamedTuple):
    command: str
    """As ACL rules spell it."""
    key: str
    """Empty for a command without one."""

    @property
    def call(self) -> list[str]:
        return [self.key if word == "K" else word for word in _CALLS[self.command].split()]


def needed(settings: Settings) -> list[Right]:
    """Every right that a worker with these settings uses, and no other."""
    return [
        Right(command, key)
        for keys, commands in _table(settings)
        for key in keys
        for command in commands.split()
    ]


def _table(settings: Settings) -> Iterator[tuple[Iterable[str], str]]:
    keys, shards = settings.keys, range(settings.shards)
    symbol = min(settings.wanted_symbols or {_ANY_SYMBOL})
    yield [""], "script|load time"
    if settings.on_cluster:
        yield [""], "cluster|slots"
    if keys.absent:
        yield [keys.absent], "evalsha"
    yield (
        [keys.input],
        "evalsha exists type xack xclaim xgroup|create xgroup|setid xinfo|groups xinfo|stream "
        "pttl xpending xrange xread xreadgroup",
    )
    if settings.source == "synthetic":
        yield [keys.input], "xadd xrevrange"
    yield [keys.dead_stream], "evalsha pttl type xadd"
    yield [keys.meta], "evalsha hdel hexists hget hgetall hset pttl type"
    yield [keys.members], "evalsha hdel hget hgetall hset pttl type"
    yield [keys.meta_of_other_source], "evalsha hget"
    yield [keys.members_of_other_source], "evalsha hgetall"
    if other := other_partitions.its_settings(settings):
        yield [other.keys.meta], "hgetall"
    yield [keys.epoch], "evalsha get pttl set type"
    yield [keys.notices, keys.handed_over], "evalsha pttl type xadd xread xrevrange"
    yield [keys.counters], "evalsha hget hset pttl type"
    yield [keys.quarantine], "evalsha hdel hgetall hset pttl type"
    yield [keys.unfinished], "del evalsha hget hgetall hset pttl type"
    yield [keys.finished_ids], "del evalsha hget hset pttl type"
    yield [keys.commits], "del evalsha hget hgetall hset pttl type"
    yield map(keys.lease, shards), "del evalsha get mget pexpire pttl set type"
    yield [keys.output_stream], "xrevrange"
    for each in settings.each_interval:
        its = each.keys
        yield [its.output_stream], "evalsha pttl type xadd"
        yield map(its.marks, shards), "evalsha hdel hget hgetall hlen hset pttl type"
        yield [its.window(symbol)], "del evalsha lrange ltrim pttl rpush type"
        yield [its.state(symbol)], "del evalsha hgetall hset pexpire type"
        yield [its.record(symbol)], "evalsha get set type"
        caches = (pattern.replace("{symbol}", symbol) for pattern in each.backfill_patterns)
        yield caches, "lrange type zrange"


def check_rights(settings: Settings) -> int:
    """Check all rights without changing anything. Returns how many there are.

    Raises RedisUnusable, which names the missing ones, or redis-py's error if Redis refuses writes
    for now.
    """
    rights, refused = needed(settings), list(_refused(settings))
    where = f"Redis at {connection.address(settings)}"
    if missing := [right for right, error in refused if refusal_of(error) == RIGHTS]:
        raise RedisUnusable(
            f"{where} does not allow the user {settings.redis_user!r} {_in_words(missing)}; a "
            f"worker needs these rights: the user {connection.account(settings)!r} of "
            "deploy/redis/users.acl has all of them, and ACL LOG there shows what was refused"
        )
    if unknown := [right for right, error in refused if refusal_of(error) == UNKNOWN_COMMAND]:
        names = sorted({right.call[0] for right in unknown})
        raise RedisUnusable(
            f"{where} does not know {', '.join(names)}: renamed or disabled there "
            "(rename-command); a worker needs each command under its own name"
        )
    for _, error in refused:
        # A cache may be on another node, which is told after the right to it has been checked.
        if not isinstance(error, AskError):
            raise error
    return len(rights)


def _refused(settings: Settings) -> Iterator[tuple[Right, redis.ResponseError]]:
    """Queue every call in a transaction that is never executed.

    Before Redis queues a command, it makes every check that could refuse it: whether it knows the
    command, whether the user may run it on this key, and whether it accepts writes now. Closing the
    connection discards the transaction.
    """
    rights = needed(settings)
    with connection.open_client(settings, block_s=0) as client:
        client.execute_command("MULTI")
        wire: Any = client.connection
        wire.send_packed_command(wire.pack_commands([right.call for right in rights]))
        for right in rights:
            try:
                wire.read_response()
            except redis.ResponseError as error:
                yield right, error


def _in_words(missing: list[Right]) -> str:
    """Each command with the first of its keys."""
    told, by_command = [], attrgetter("command")
    for command, of_command in groupby(sorted(missing, key=by_command), by_command):
        keys = [right.key for right in of_command if right.key]
        text = command.upper().replace("|", " ")
        if keys:
            text += f" on {keys[0]}"
        if len(keys) > 1:
            text += f" (and {len(keys) - 1} other keys)"
        told.append(text)
    if len(told) > _COMMANDS_SHOWN:
        told[_COMMANDS_SHOWN:] = [f"and {len(told) - _COMMANDS_SHOWN} other commands"]
    return ", ".join(told)
