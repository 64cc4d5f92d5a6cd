"""A worker in the test's own process, to be driven step by step against a real Redis."""

import uuid
from typing import Any

from core.theta import merged_theta
from worker import connection
from worker.commit import Commit
from worker.embedded import EmbeddedRedis
from worker.group import join
from worker.intake import Intake
from worker.pipeline import Changes, Entry, Pipeline
from worker.scripts import Scripts
from worker.settings import Settings
from worker.shards import Shards


class SteppedWorker:
    """Does what `loop.Session` does, but one step at a time and only when told to."""

    def __init__(self, server: EmbeddedRedis, worker_id: str, **changes: Any) -> None:
        given: dict[str, Any] = {
            "redis_host": "127.0.0.1",
            "redis_port": server.port,
            "worker_id": worker_id,
            "theta": merged_theta(None),
        }
        self.settings = Settings(**(given | changes))
        self.keys = self.settings.keys
        client = connection.open_client(self.settings, block_s=1)
        self.scripts = Scripts(client)
        self.pipeline = Pipeline(self.settings, join(self.scripts, self.settings))
        self.shards = Shards(self.settings, self.scripts, uuid.uuid4().hex)
        self.intake = Intake(self.settings, client, self.scripts)
        self.commit = Commit(self.settings, self.scripts, self.shards)

    def keep(self) -> list[int]:
        """Renew now, however recent the last time was; the shards held."""
        self.shards.drop([])
        self.shards.keep()
        return list(self.shards)

    def fetch(self) -> list[Entry]:
        return self.intake.fetch(self.shards, self.settings.batch)

    def advance(self, entries: list[Entry]) -> Changes:
        return self.pipeline.advance(self.pipeline.read(entries), self.shards.memory, {})

    def work(self) -> int:
        """Batches until nothing is left; how many entries."""
        done = 0
        while entries := self.fetch():
            self.commit.apply(self.advance(entries))
            done += len(entries)
        return done
