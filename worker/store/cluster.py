"""Redis Cluster: which of its masters has which keys, as its nodes tell it."""

import random
from collections.abc import Sequence
from typing import Any

import redis
from redis.cluster import parse_cluster_slots
from redis.crc import key_slot
from redis.exceptions import ClusterDownError

from marketstate.worker.store.asking_client import AskingClient

Address = tuple[str, int]


class Masters:
    """As they are when this is created, told by the first of `nodes` that answers.

    The nodes are asked in random order: one that is cut off from the others tells what was true.
    `options` are those of a connection. Raises redis-py's errors.
    """

    def __init__(self, nodes: Sequence[Address], options: dict[str, Any]) -> None:
        for host, port in random.sample(nodes, len(nodes)):
            try:
                with AskingClient(pool_at((host, port), options)) as client:
                    told = client.execute_command("CLUSTER SLOTS")
            except redis.AuthenticationError:
                raise
            except (redis.ConnectionError, redis.TimeoutError) as error:
                silent: redis.RedisError = error
            else:
                self._by_slots: Any = parse_cluster_slots(told, current_host=host)
                return
        raise silent

    def of(self, key: str) -> Address:
        slot = key_slot(key.encode())
        for (first, last), servers in self._by_slots.items():
            if first <= slot <= last:
                found: Address = servers["primary"]
                return found
        raise ClusterDownError(f"no master serves slot {slot}")


def pool_at(address: Address, options: dict[str, Any]) -> redis.ConnectionPool:
    host, port = address
    return redis.ConnectionPool(**(options | {"host": host, "port": port}))
