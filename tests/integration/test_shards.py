"""Leases: they balance automatically, stay put if nothing changes, and are taken over in time."""

from typing import Any

import pytest
import redis

from marketstate.worker.engine.removal import living
from marketstate.worker.errors import LeaseLost, WorkerIdInUse
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INTERNAL_PREFIX, counters, feed


def settle(workers: list[SteppedWorker]) -> list[set[int]]:
    """What each worker holds after all have renewed twice: once to release, once to take."""
    for _ in range(2):
        held = [set(worker.keep()) for worker in workers]
    return held


def let_die(client: redis.Redis, worker: SteppedWorker) -> None:
    """Make the worker look as if its lease time had passed since it was last seen."""
    name = worker.settings.worker_id
    entry = client.hget(f"{INTERNAL_PREFIX}:members", name)
    assert isinstance(entry, bytes)
    _, _, rest = entry.partition(b":")
    client.hset(f"{INTERNAL_PREFIX}:members", name, b"0:" + rest)
    client.delete(*(worker.keys.lease(shard) for shard in worker.shards))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17])
def test_every_shard_is_held_by_exactly_one_worker_and_shares_differ_by_at_most_one(
    count: int, server: EmbeddedRedis
) -> None:
    """G1."""
    workers = [SteppedWorker(server, f"worker-{i}") for i in range(count)]
    held = settle(workers)
    assert sorted(shard for shards in held for shard in shards) == list(range(16))
    assert max(map(len, held)) - min(map(len, held)) <= 1
    assert settle(workers) == held


def test_a_new_worker_gets_its_share_and_the_other_shards_stay_where_they_are(
    server: EmbeddedRedis,
) -> None:
    first, second = SteppedWorker(server, "a"), SteppedWorker(server, "b")
    before = settle([first, second])
    third = SteppedWorker(server, "c")
    after = settle([first, second, third])
    assert list(map(len, after)) == [6, 5, 5]
    assert after[0] < before[0]
    assert after[1] < before[1]


def test_the_shards_of_a_dead_worker_are_taken_with_their_windows(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G6."""
    first, second = SteppedWorker(server, "a"), SteppedWorker(server, "b")
    settle([first, second])
    candles = made_candles((f"SYM{i}USDT" for i in range(20)), 30)
    feed(client, candles)
    first.finish_all()
    second.finish_all()
    let_die(client, first)
    assert sorted(second.keep()) == list(range(16))
    assert counters(client)["applied"] == len(candles)
    feed(client, made_candles((f"SYM{i}USDT" for i in range(20)), 31)[-20:])
    second.finish_all()
    assert {counters(client)["applied"]} == {30 * 20 + 20}
    assert {client.llen(f"{INTERNAL_PREFIX}:window:SYM{i}USDT") for i in range(20)} == {31}


def test_a_worker_that_lost_a_shard_drops_its_memory_at_the_next_renewal(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4."""
    first, second = SteppedWorker(server, "a"), SteppedWorker(server, "b")
    held, _ = settle([first, second])
    lost = min(held)
    client.set(first.keys.lease(lost), "b:99", px=60_000)
    assert set(first.keep()) == held - {lost}


def set_the_clock_back(client: redis.Redis, workers: list[SteppedWorker], seconds: int) -> None:
    """Change what depends on the clock of Redis's host as if it had been set back."""
    for key in client.keys(f"{INTERNAL_PREFIX}:lease:*"):
        left_ms: Any = client.pttl(key)
        client.pexpire(key, left_ms + 1_000 * seconds)
    for worker in workers:
        name = worker.settings.worker_id
        entry: Any = client.hget(f"{INTERNAL_PREFIX}:members", name)
        seen_ms, _, rest = entry.partition(b":")
        seen = b"%d:" % (int(seen_ms) + 1_000 * seconds)
        client.hset(f"{INTERNAL_PREFIX}:members", name, seen + rest)


def test_the_lease_of_a_dead_worker_is_taken_although_the_clock_was_set_back(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: expiries go by the clock of Redis's host."""
    dead, alive = SteppedWorker(server, "dead"), SteppedWorker(server, "alive")
    settle([dead, alive])
    set_the_clock_back(client, [dead, alive], 300)
    assert sorted(alive.keep()) == [*range(16)]


def test_a_living_worker_that_was_taken_for_dead_by_the_clock_gets_its_share_again(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G1, G4: and what it had in hand is refused."""
    first, second = SteppedWorker(server, "a"), SteppedWorker(server, "b")
    settle([first, second])
    feed(client, made_candles((f"SYM{i}USDT" for i in range(20)), 3))
    in_hand = first.advance(first.fetch())
    set_the_clock_back(client, [first, second], 300)
    assert sorted(second.keep()) == [*range(16)]
    with pytest.raises(LeaseLost):
        first.apply(in_hand)
    held = settle([first, second])
    assert sorted(map(len, held)) == [8, 8]
    first.finish_all()
    second.finish_all()
    assert counters(client) == {"applied": 60}


def test_a_lease_of_somebody_who_is_no_member_is_free(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6."""
    worker = SteppedWorker(server, "a")
    client.set(worker.keys.lease(7), "nobody:99")
    assert worker.keep() == [*range(16)]


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("x", "abc"),
        ("x", "1.5:2:"),
        (b"\xff", f"{{now}}:{'9' * 20}:"),
        ("x", f"{{now}}:{'9' * 15}:"),
        ("x", f"{{now}}:{'9' * 400}:"),
    ],
)
def test_a_member_that_no_worker_can_have_written_keeps_no_share_and_stops_no_command(
    name: str | bytes, times: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G6: with such a lease time it would be live for ever."""
    now: Any = client.time()
    members = f"{INTERNAL_PREFIX}:members"
    client.hset(members, name, times.format(now=now[0] * 1_000))
    assert living(client, members) == []
    assert SteppedWorker(server, "a").keep() == [*range(16)]
    assert living(client, members) == ["a"]


def test_a_worker_that_starts_over_takes_its_shards_under_new_tokens(server: EmbeddedRedis) -> None:
    """G4: a delayed commit with an old token must fail."""
    first = SteppedWorker(server, "a", incarnation="one process")
    first.keep()
    old = {shard: first.shards.token(shard) for shard in range(16)}
    again = SteppedWorker(server, "a", incarnation="one process")
    assert again.keep() == list(range(16))
    assert all(old[shard] != again.shards.token(shard) for shard in range(16))


def test_two_workers_with_one_id_are_noticed(server: EmbeddedRedis) -> None:
    SteppedWorker(server, "twin").keep()
    with pytest.raises(WorkerIdInUse, match="give each worker its own MARKETSTATE_WORKER_ID"):
        SteppedWorker(server, "twin").keep()


# To the last two, a Lua number can add nothing.
UNCOUNTABLE = ["abc", "", "007", " 1", "-0", "-5", "1e+8", str(2**63 - 1), "9" * 30]
UNCOUNTABLE += [str(2**53), str(2**53 - 1)]


@pytest.mark.parametrize("damage", UNCOUNTABLE)
def test_a_damaged_epoch_starts_again_above_all_that_were_used(
    damage: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G4, G9: also above those of an earlier damage, if the clock was set back since."""
    first = SteppedWorker(server, "a")
    ahead = 9 * 10**12
    client.set(first.keys.lease(3), f"gone:{ahead}")
    client.set(first.keys.lease(4), f"gone:{2**53}")
    client.set(first.keys.epoch, damage)
    first.keep()
    used = [int(first.shards.token(shard).partition(":")[2]) for shard in range(16)]
    assert used == [*range(ahead + 1, ahead + 17)]
    assert client.get(first.keys.epoch) == str(ahead + 16).encode()
