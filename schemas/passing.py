"""Which errors of a Redis client pass by themselves, so that a reader tries again.

They are known by the names of their classes: the client is yours, and nothing here imports it.
"""

from typing import Final

_PASS: Final = frozenset(
    (
        *("ConnectionError", "TimeoutError", "OSError", "ReadOnlyError", "TryAgainError"),
        # Of a cluster, none of whose nodes answers, or which has no master for a key.
        *("ClusterError", "RedisClusterException"),
    )
)
# redis-py derives them from its ConnectionError.
_STAY: Final = frozenset(("AuthenticationError", "AuthorizationError"))
# To a read that was blocked when its master became a replica.
_UNBLOCKED: Final = "UNBLOCKED"
# What a cluster client says of a Redis that is no cluster.
_NO_CLUSTER: Final = "Cluster mode is not enabled"


def passes(error: BaseException) -> bool:
    """Whether Redis, or the way to it, is away. A wrong password or a missing right stays."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "RedisClusterException" in names:
        # An asynchronous cluster client connects when it is used. It says that it cannot, whatever
        # the cause: also if that is a wrong password.
        if error.__cause__ is not None:
            return passes(error.__cause__)
        return _NO_CLUSTER not in str(error)
    return str(error).startswith(_UNBLOCKED) or bool(names & _PASS and not names & _STAY)
