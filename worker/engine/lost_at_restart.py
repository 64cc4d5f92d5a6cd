"""What Redis loses of the workers' writes when it starts again from its append-only log.

All that a script writes stands in that log as one transaction. Some versions drop transactions, or
put their keys where nobody finds them, as they read the log; what the upstream has written without
one stays. So the workers begin again where the log was last rewritten, and those who read their
outputs get everything since then twice.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import redis

from marketstate.worker.engine.rights import needed
from marketstate.worker.settings import Settings
from marketstate.worker.store.connection import Client
from marketstate.worker.store.server_version import ServerVersion

# Of Valkey, the first version that has the fault, and the first without:
# https://github.com/valkey-io/valkey/issues/2995
_WRONG_SLOTS_FROM: Final = (9, 0, 0)
_RIGHT_SLOTS_FROM: Final = (9, 0, 2)

# The first version that no longer asks, as it reads the log, what the user `default` may do:
# https://github.com/redis/redis/issues/14541, https://github.com/valkey-io/valkey/issues/3983. 6.2
# does not ask either, and cannot tell what another user may do.
_ASKS_NO_MORE: Final = {"Redis": (8, 6, 0), "Valkey": (9, 1, 0)}
_USER_OF_THE_LOG: Final = "default"
_WRITES: Final = ("del", "hset", "ltrim", "pexpire", "rpush", "set", "xack", "xadd", "xclaim")


def lost_at_restart(
    client: Client, settings: Settings, info: Mapping[str, Any], version: ServerVersion
) -> Iterator[str]:
    """Sentences; `info` is the reply to `INFO`."""
    if not info.get("aof_enabled"):
        return
    if (
        info.get("cluster_enabled")
        and version.name == "Valkey"
        and _WRONG_SLOTS_FROM <= version.numbers < _RIGHT_SLOTS_FROM
    ):
        yield (
            f"as a node of a cluster, {version} loses what scripts have written when it starts "
            "again (issue 2995 of Valkey): upgrade it"
        )
    asks_no_more = _ASKS_NO_MORE.get(version.name)
    asks = not asks_no_more or version.numbers < asks_no_more
    if asks and (refused := _refused(client, settings)):
        yield (
            f"the user {_USER_OF_THE_LOG!r} may not {refused}, so {version} drops what scripts "
            "have written when it starts again: give that user a password and all rights; see "
            "deploy/redis/README.md, Users"
        )


def _refused(client: Client, settings: Settings) -> str:
    """What a commit writes and that user may not. Empty if nothing, or if Redis does not tell."""
    calls = {right.command: right.call for right in needed(settings) if right.command in _WRITES}
    with client.pipeline(transaction=False) as asked:
        for call in calls.values():
            asked.execute_command(  # type: ignore[no-untyped-call]
                "ACL", "DRYRUN", _USER_OF_THE_LOG, *call
            )
        replies = asked.execute(raise_on_error=False)
    for call, reply in zip(calls.values(), replies, strict=True):
        if not isinstance(reply, redis.RedisError) and bytes(reply) != b"OK":
            return f"{call[0]} {call[1]}"
    return ""
