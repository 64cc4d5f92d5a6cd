"""A worker inside the test process, driven step by step against a real Redis."""

import uuid
from typing import Any

from marketstate.core.theta import merged_theta
from marketstate.worker.engine.changes import Changes, Reading
from marketstate.worker.engine.session import Session
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import Settings


class SteppedWorker(Session):
    """A `Session` that does one step at a time, and only when told to."""

    def __init__(
        self, server: EmbeddedRedis, worker_id: str, incarnation: str = "", **changes: Any
    ) -> None:
        """With `partition`, it works on that one alone."""
        partition = changes.pop("partition", None)
        given: dict[str, Any] = {
            "redis_host": "127.0.0.1",
            "redis_port": server.port,
            "worker_id": worker_id,
            "theta": merged_theta(None),
        }
        settings = Settings(**(given | changes))
        self.settings = settings if partition is None else settings.of_partition(partition)
        self.keys = self.settings.keys
        super().__init__(self.settings, incarnation or uuid.uuid4().hex, SystemdNotifier())
        self.batch_size.most = self.settings.batch

    def keep(self) -> list[int]:
        """Renew now, even if the last renewal was recent, and load everything; returns the shards
        held.
        """
        self.shards.drop([])
        self.shards.keep()
        while self.shards.load_some():
            pass
        return list(self.shards)

    def fetch(self) -> list[Reading]:
        return self.intake.fetch(self.batch_size.most)

    def advance(self, readings: list[Reading], *, ask_ahead: bool = False) -> Changes:
        return self.prepare(readings, ask_ahead=ask_ahead)()

    def apply(self, changes: Changes) -> None:
        """Raises LeaseLost."""
        self.commit.apply(changes)

    def finish_all(self, *, ask_ahead: bool = False) -> int:
        """Process batches until nothing is left; returns how many entries."""
        done = 0
        while readings := self.fetch():
            self.apply(self.advance(readings, ask_ahead=ask_ahead))
            done += len(readings)
        return done
