"""What lives as long as one connection, and its loop: keep the leases, fetch, advance, commit."""

import math
import time
from collections.abc import Callable
from typing import Final

import redis

from marketstate.schemas.candle import Candle
from marketstate.worker.engine.backfill import Backfill
from marketstate.worker.engine.batch_size import BatchSize
from marketstate.worker.engine.changes import Changes, Reading, Unforeseen, no_caches
from marketstate.worker.engine.commit import Commit
from marketstate.worker.engine.group import join
from marketstate.worker.engine.heartbeat import Heartbeat
from marketstate.worker.engine.intake import Intake
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.engine.retirement import Retirement
from marketstate.worker.engine.shards import KEEPS_PER_LEASE, Shards
from marketstate.worker.engine.synthetic import SyntheticFeeder
from marketstate.worker.engine.systemd import Notifier
from marketstate.worker.engine.unforeseen import FORESEEN, reason_of
from marketstate.worker.errors import LeaseLost, RolledBack, SymbolsDamaged
from marketstate.worker.log import log, repeats
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection
from marketstate.worker.store.refusal import reason
from marketstate.worker.store.scripts import Scripts

# How late a state that is due by the wall clock may be published.
LOOK_FOR_OVERDUE_S: Final = 0.5
A_MOMENT_S: Final = 2.0


class Session:
    """Everything that lives as long as one connection. Start-up and recovery both begin a new one.

    Nothing is carried over from the previous session, because its leases and its memory may be out
    of date: the new one takes its own leases, and loads everything else from Redis.
    """

    def __init__(
        self,
        settings: Settings,
        incarnation: str,
        notifier: Notifier,
        *,
        again: bool = False,
    ) -> None:
        client = connection.open_client(settings, block_s=settings.lease_seconds / KEEPS_PER_LEASE)
        self._client = client
        connection.refuse_writable_replica(client)
        scripts = Scripts(client, settings.keys)
        self.pipeline = Pipeline(settings, warm_until=join(scripts, settings, again=again))
        self.shards = Shards(settings, client, scripts, incarnation)
        self.intake = Intake(settings, client, scripts, self.shards, self.pipeline)
        self.backfill = Backfill(settings, client)
        self.commit = Commit(settings, client, scripts, self.shards)
        # With long marks, the next batch needs the time of this commit.
        self._may_run_ahead = not settings.marks_are_long
        self.retirement = Retirement(settings, self.shards, self.pipeline)
        synthetic = settings.source == "synthetic"
        self.feeder = SyntheticFeeder(settings, client) if synthetic else None
        self.notifier = notifier
        self.heartbeat = Heartbeat(notifier, settings, client, self.shards)
        longest_s = settings.lease_seconds / KEEPS_PER_LEASE
        self.batch_size = BatchSize(settings.batch, longest_s)
        self.overdue_batch_size = BatchSize(settings.batch, longest_s)
        self._looks_for_overdue = settings.rate_clock == "wall"
        self._next_look_s = 0.0

    def work(self, stop: Stop) -> None:
        while not (stop.requested or stop.hung_up):
            found_work = self.work_on_a_batch()
            self.heartbeat.beat()
            repeats.tell()
            if not found_work:
                self.intake.wait(self._seconds_to_wait(), stop)

    def work_on_a_batch(self) -> bool:
        """False when there was nothing to do."""
        self.shards.keep()
        if self.feeder:
            self.feeder.feed()
        began_s = time.monotonic()
        readings = self.intake.fetch(self.batch_size.most)
        self.shards.notice(self.intake.last_notice)
        if readings:
            self._process(readings, ask_ahead=self.intake.is_full)
            self.batch_size.took(time.monotonic() - began_s, len(readings))
            if not self.intake.is_full:
                self.batch_size.took_all()
        else:
            self.commit.finish()
        published = self._looks_for_overdue and self._publish_overdue()
        retired = not readings and self._retire()
        # By the wall clock, a state is due also while a backlog waits.
        has_time = self._looks_for_overdue or not self.intake.is_full
        loaded = has_time and self.shards.load_some()
        return bool(readings) or published or retired or loaded

    def _process(self, readings: list[Reading], *, ask_ahead: bool = False) -> None:
        try:
            advance = self.prepare(readings, ask_ahead=ask_ahead)
            changes = advance()
        except FORESEEN:
            raise
        except Exception as error:
            if self.commit.finish():
                self._isolate(readings, error)
            return
        if not self.commit.finish():
            return  # These changes follow others that were refused. All of it is fetched again.
        run_ahead = ask_ahead and self._may_run_ahead
        while not self._commit(changes, run_ahead=run_ahead):
            changes = advance()  # Again, without the symbols that have been set aside.

    def _isolate(self, readings: list[Reading], error: Exception) -> None:
        """The calculation has failed in a way that nobody has foreseen: repeat it entry by entry,
        in stream order. Where it fails again, set aside the symbol, or reject what is not a candle.
        """
        if len(readings) == 1:
            [reading] = readings
            text, candle = reason_of(error), reading.found
            if isinstance(candle, Candle):
                self.shards.set_aside_for_our_mistake(reading.entry.shard, candle.symbol, text)
            else:
                readings = [reading._replace(found=Unforeseen(text))]
            now_ms = self.intake.now_ms()
            self._commit(self.pipeline.advance(readings, self.shards.memory, no_caches, now_ms))
            return
        version = self.shards.version
        for reading in readings:
            self._process([reading])
            self.shards.keep()
            if self.shards.version != version:
                return  # Another worker may have the rest. What is still ours is fetched again.

    def prepare(self, readings: list[Reading], *, ask_ahead: bool = False) -> Callable[[], Changes]:
        """Look up what the readings need. The function that it returns calculates what they change;
        with `ask_ahead`, Redis looks up the next ones meanwhile.
        """
        room = self.shards.room_for_symbols
        self.shards.look_up(readings, self.backfill.unconfirmed)
        older = self.backfill.of_batch(readings, self.shards.memory)
        if ask_ahead:
            self.intake.ask_ahead(readings, self.batch_size.most)
        now_ms = self.intake.now_ms()

        def advance() -> Changes:
            with older:
                return self.pipeline.advance(readings, self.shards.memory, older, now_ms, room)

        return advance

    def overdue(self) -> Changes:
        """What is due by the wall clock, for as many symbols as a batch may have."""
        most = self.overdue_batch_size.most
        return self.pipeline.overdue(self.shards.remembered(), self.intake.now_ms(), most)

    def _publish_overdue(self) -> bool:
        """As many overdue states as a batch may have; False if there were none."""
        began_s = time.monotonic()
        if began_s < self._next_look_s:
            return False
        try:
            changes = self.overdue()
        except Exception as error:
            return self._isolate_overdue(error)
        if not changes.records:
            self._next_look_s = began_s + LOOK_FOR_OVERDUE_S
            return False
        self._commit(changes)
        self.overdue_batch_size.took(time.monotonic() - began_s, len(changes.records))
        return True

    def _isolate_overdue(self, error: Exception) -> bool:
        """As `_isolate`: set aside the symbols for which the calculation fails."""
        found = []
        for one in self.shards.remembered():
            try:
                self.pipeline.overdue([one], self.intake.now_ms(), 1)
            except Exception as its_error:
                found.append((one, reason_of(its_error)))
        for (shard, symbol, _), text in found:
            self.shards.set_aside_for_our_mistake(shard, symbol, text)
        if not found:
            raise error
        return True

    def _retire(self) -> bool:
        """Some of the symbols that had no candle for long; False if there were none."""
        changes = self.retirement.changes(self.intake.now_ms())
        if changes.retired:
            self._commit(changes)
        return bool(changes.retired)

    def _commit(self, changes: Changes, *, run_ahead: bool = False) -> bool:
        """False when some of its symbols were set aside: the others are still to be committed. With
        `run_ahead`, that is seen only when the commit is finished.
        """
        try:
            if run_ahead:
                self.commit.begin(changes)
            else:
                self.commit.apply(changes)
        except SymbolsDamaged as damaged:
            self.shards.set_aside(changes, damaged.reasons)
            return False
        except LeaseLost as lost:
            log.warning("%s; the next holder has its candles", lost)
            self.shards.drop(lost.shards)
        return True

    def finish(self) -> None:
        """Wait for the commit that is under way, and tell of it. If nobody knows what became of it,
        the next holder of its shards finds out.
        """
        try:
            self.commit.finish()
        except (redis.RedisError, RolledBack) as error:
            log.warning("it is not known whether the last batch was written: %s", reason(error))

    def release(self) -> None:
        """Release all shards, whatever becomes of the commit that is under way."""
        try:
            self.finish()
        finally:
            self.shards.release()

    def hurry(self) -> None:
        """Redis did not answer: what is left to do waits no longer for it than for a moment."""
        self._client.wait_at_most(A_MOMENT_S)

    def leave(self) -> None:
        try:
            self.release()
            log.info("stopped; all shards are released")
        except redis.RedisError as error:
            log.warning(
                "stopped; the leases could not be released and will expire: %s",
                reason(error),
            )

    def _seconds_to_wait(self) -> float:
        to_feed = self.feeder.seconds_to_feed if self.feeder else math.inf
        to_look = LOOK_FOR_OVERDUE_S if self._looks_for_overdue else math.inf
        return min(
            self.shards.seconds_to_keep,
            to_feed,
            to_look,
            self.retirement.seconds_to_look,
            self.notifier.longest_wait_s,
            repeats.seconds_to_tell,
        )
