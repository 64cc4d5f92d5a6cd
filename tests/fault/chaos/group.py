"""One group under test, the only one or a partition: what it is fed, and how far it has come."""

from typing import Any, cast

import redis

from tests.fault.chaos import history as histories
from tests.fault.chaos.entries import NUMBER_FIELD
from tests.fault.chaos.faults.symbols import repair_all
from tests.fault.chaos.feeder import Feeder
from tests.fault.chaos.history import History
from tests.fault.chaos.names import GROUP, Names
from tests.fault.chaos.nodes import ServersOfKey
from tests.fault.chaos.one_server import OneServer


class Group:
    def __init__(
        self,
        names: Names,
        servers: OneServer | ServersOfKey,
        feeder: Feeder,
        history: History,
    ) -> None:
        self.names = names
        self.feeder = feeder
        self.history = history
        self._servers = servers

    def starts_here(self) -> None:
        """What is there by now is not for the group."""
        with self._servers.client() as client:
            stream: Any = client.xinfo_stream(self.names.input)
        self.history.settings["start_id"] = stream["last-generated-id"].decode()

    def behind(self) -> int | None:
        """How many entries up to the goal are not finished, without what a bridge has not brought
        yet; None while Redis does not answer.
        """
        stream_name = self.names.input
        try:
            with self._servers.client() as client:
                groups: Any = client.xinfo_groups(stream_name)
                group = next(one for one in groups if one["name"] == GROUP.encode())
                stream: Any = client.xinfo_stream(stream_name)
                last_read = group["last-delivered-id"]
                [(_, fields)] = cast("list[Any]", client.xrange(stream_name, last_read, last_read))
        except (redis.RedisError, KeyError, ValueError, StopIteration):
            return None
        unread = 0
        if not self.history.settings["bridged"]:
            unread = self.feeder.goal - 1 - int(fields[NUMBER_FIELD])
        if last_read != stream["last-generated-id"]:
            unread = max(1, unread)
        return int(group["pending"]) + unread

    def repair(self) -> None:
        with self._servers.client() as client:
            repair_all(client, self.names)

    def collect(self) -> None:
        with self._servers.client() as client:
            histories.collect(client, self.names, self.history)
