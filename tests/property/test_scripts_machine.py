"""The scripts under every order of events that hypothesis finds, against a real Redis.

Workers start, are paused during a batch, lose their leases and die; entries arrive, consumers are
deleted, scripts are flushed. A small model knows what was fed. The invariant after every step: of
each symbol, a prefix is applied once and in order, and window, outputs and acknowledgements agree.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from marketstate.worker.engine.changes import Changes
from marketstate.worker.errors import LeaseLost
from marketstate.worker.keys import shard_name
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import as_envelope, candle
from tests.support.feeding import NEEDED, SMALL_THETA
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    OUTPUT,
    feed_fields,
    finished,
    group_info,
    values,
)

SYMBOLS = ("AAA", "BBB", "CCC", "DDD")
SHARDS = 3
WINDOW = 12
MOST_WORKERS = 3
OUT_OF_TIME = 0


class ScriptsMachine(RuleBasedStateMachine):
    server: EmbeddedRedis

    def __init__(self) -> None:
        super().__init__()
        self.client = self.server.client()
        self.client.flushall()
        self.client.script_flush()
        self.fed: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.entries = 0
        self.started = 0
        self.workers: dict[str, SteppedWorker] = {}
        self.in_hand: dict[str, Changes] = {}
        self.start_a_worker()

    def teardown(self) -> None:
        self.client.close()

    def any_worker(self, data: st.DataObject) -> SteppedWorker:
        return self.workers[data.draw(st.sampled_from(sorted(self.workers)))]

    @rule(symbols=st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=12))
    def entries_arrive(self, symbols: list[str]) -> None:
        entries = []
        for symbol in symbols:
            number = len(self.fed[symbol])
            one = candle(symbol, number, 100 + (number * 7 % 11) / 10)
            self.fed[symbol].append((one.close_time, one.close))
            entries.append(as_envelope(one))
        self.entries += feed_fields(self.client, entries)

    @precondition(lambda self: len(self.workers) < MOST_WORKERS)
    @rule()
    def start_a_worker(self) -> None:
        self.started += 1
        name = f"worker-{self.started}"
        self.workers[name] = SteppedWorker(
            self.server,
            name,
            shards=SHARDS,
            theta=SMALL_THETA,
            window_size=WINDOW,
            batch=5,
            max_pending=9,
            start="replay",
            lease_seconds=3_600,
        )

    @rule(data=st.data())
    def a_worker_keeps_its_leases(self, data: st.DataObject) -> None:
        """Not during a batch: the loop finishes a batch before it renews again."""
        worker = self.any_worker(data)
        if worker.settings.worker_id not in self.in_hand:
            worker.shards.drop([])
            worker.shards.keep()

    @rule(data=st.data())
    def a_worker_has_time_to_load(self, data: st.DataObject) -> None:
        """Whether it still holds its leases or not."""
        worker = self.any_worker(data)
        if worker.settings.worker_id not in self.in_hand:
            worker.shards.load_some()

    @rule(data=st.data(), ask_ahead=st.booleans())
    def a_worker_starts_a_batch(self, data: st.DataObject, ask_ahead: bool) -> None:
        worker = self.any_worker(data)
        name = worker.settings.worker_id
        if name not in self.in_hand and (entries := worker.fetch()):
            self.in_hand[name] = worker.advance(entries, ask_ahead=ask_ahead)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def a_worker_commits_its_batch(self, data: st.DataObject) -> None:
        """G4: it succeeds if and only if the worker still holds all leases."""
        name = data.draw(st.sampled_from(sorted(self.in_hand)))
        worker, changes = self.workers[name], self.in_hand.pop(name)
        holders = {shard: self.client.get(worker.keys.lease(shard)) for shard in changes.finished}
        may = all(
            holders[shard] == worker.shards.token(shard).encode() for shard in changes.finished
        )
        before = self.everything()
        if may:
            worker.apply(changes)
            return
        with pytest.raises(LeaseLost) as lost:
            worker.apply(changes)
        assert self.everything() == before
        worker.shards.drop(lost.value.shards)

    @rule(data=st.data())
    def the_leases_of_a_worker_expire(self, data: st.DataObject) -> None:
        """It was paused, or its renewals were lost; it does not know yet."""
        self.let_time_pass(self.any_worker(data).settings.worker_id)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        name = self.any_worker(data).settings.worker_id
        del self.workers[name]
        self.in_hand.pop(name, None)
        self.let_time_pass(name)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(data=st.data())
    def a_worker_stops(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        if worker.settings.worker_id not in self.in_hand:
            worker.shards.release()
            del self.workers[worker.settings.worker_id]

    @rule()
    def scripts_are_flushed(self) -> None:
        self.client.script_flush()

    @rule(shard=st.integers(0, SHARDS - 1))
    def a_consumer_is_deleted(self, shard: int) -> None:
        self.client.xgroup_delconsumer(INPUT, GROUP, shard_name(shard))

    @rule(count=st.integers(1, 6))
    def another_program_reads_from_the_group(self, count: int) -> None:
        self.client.xreadgroup(GROUP, "debug", {INPUT: ">"}, count=count)

    @rule(count=st.integers(1, 6))
    def another_program_claims_pending_entries(self, count: int) -> None:
        self.client.xautoclaim(INPUT, GROUP, "thief", 0, count=count)

    @invariant()
    def of_each_symbol_a_prefix_is_applied_once_and_in_order(self) -> None:
        """G1, G3: windows and outputs agree on the position of a symbol; counters on the sum."""
        outputs = self.emitted_close_times()
        applied = 0
        for symbol, fed in self.fed.items():
            window = self.window(symbol)
            done = fed.index(window[-1]) + 1 if window else 0
            assert window == fed[:done][-WINDOW:]
            assert outputs[symbol] == [time // 1_000 for time, _ in fed[NEEDED - 1 : done]]
            applied += done
        assert finished(self.client) == applied

    @invariant()
    def what_is_not_finished_is_pending_or_unread_or_known_to_be_missing(self) -> None:
        """G5, G8."""
        unfinished: Any = self.client.hgetall(f"{INTERNAL_PREFIX}:unfinished")
        taken = sum(map(int, unfinished.values()))
        summary: Any = self.client.xpending(INPUT, GROUP)
        of_shards = [one for one in summary["consumers"] if one["name"].startswith(b"shard-")]
        assert taken >= sum(one["pending"] for one in of_shards)
        meta: Any = self.client.hget(f"{INTERNAL_PREFIX}:meta", "entries_accounted")
        if meta is not None:
            assert int(meta) == taken + finished(self.client)
        assert self.entries >= taken + finished(self.client)

    def finish(self) -> None:
        """Whatever has happened, a last worker finishes everything."""
        for name in list(self.workers):
            self.let_time_pass(name)
        self.workers, self.in_hand = {}, {}
        self.start_a_worker()
        (last,) = self.workers.values()
        last.shards.keep()
        last.finish_all()
        self.of_each_symbol_a_prefix_is_applied_once_and_in_order()
        assert finished(self.client) == self.entries
        assert group_info(self.client).get("pending") == 0

    def let_time_pass(self, name: str) -> None:
        """Let a lease time pass, for this worker only."""
        if self.client.hexists(f"{INTERNAL_PREFIX}:members", name):
            self.client.hset(f"{INTERNAL_PREFIX}:members", name, f"{OUT_OF_TIME}:1000:anybody")
        for shard in range(SHARDS):
            lease = f"{INTERNAL_PREFIX}:lease:{shard:02d}"
            holder: Any = self.client.get(lease)
            if holder is not None and holder.startswith(f"{name}:".encode()):
                self.client.delete(lease)

    def emitted_close_times(self) -> dict[str, list[int]]:
        by_symbol: dict[str, list[int]] = defaultdict(list)
        entries: Any = self.client.xrange(OUTPUT)
        for _, fields in entries:
            by_symbol[fields[b"symbol"].decode()].append(int(fields[b"timestamp"]))
        return by_symbol

    def window(self, symbol: str) -> list[tuple[int, float]]:
        packed: Any = self.client.lrange(f"{INTERNAL_PREFIX}:window:{symbol}", 0, -1)
        return [struct.unpack("<qd", one) for one in packed]

    def everything(self) -> dict[bytes, Any]:
        keys: Any = self.client.keys("*")
        return values(self.client, keys)


class FinishedMachine(ScriptsMachine):
    def teardown(self) -> None:
        self.finish()
        super().teardown()


@pytest.fixture
def machine_server(server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(server_binary) as server:
        yield server


def test_no_order_of_events_loses_repeats_or_reorders_a_candle(
    machine_server: EmbeddedRedis,
) -> None:
    """G1, G3, G4, G5."""
    FinishedMachine.server = machine_server
    machine: Any = FinishedMachine
    machine.TestCase.settings = settings(
        max_examples=40,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase("runTest").runTest()
