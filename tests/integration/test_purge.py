"""`marketstate purge`: it shows what a group keeps, removes that, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.commands import purge
from marketstate.worker.engine import removal
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.partitioned import feed_by_symbol
from tests.support.replaying import SYMBOLS, dumps, run, small
from tests.support.small_workers import FILLED
from tests.support.stepped_partitions import PARTITIONS, partition_workers, work_all_off
from tests.support.stepped_partitions import SYMBOLS as OF_PARTITIONS
from tests.support.steps import SteppedWorker
from tests.support.worker_process import INPUT, INTERNAL_PREFIX, work_through

CANDLES = made_candles(SYMBOLS, 20)
TWO = "quantum:marketstate-worker:two:meta"


@pytest.fixture
def worked(server: EmbeddedRedis, client: redis.Redis, tmp_path: Path) -> set[bytes]:
    """Keys that are not ours, beside those of a group whose worker has stopped."""
    for name in ("marketstate:else", "marketstates", "other"):
        client.hset(f"quantum:marketstate-worker:{name}:meta", "input_stream", "another")
    client.set("quantum:marketstate:FOREIGN", "of nobody")
    before: Any = client.keys()
    work_through(server.port, client, tmp_path, CANDLES, start="replay", **small(tmp_path))
    client.xgroup_create(INPUT, "of another program")
    return set(before)


def test_without_yes_nothing_is_removed(
    worked: set[bytes], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    before = dumps(client)
    assert worked < before.keys()
    for options in ((), ("--outputs",)):
        code, said = run(server, tmp_path, "purge", *options)
        assert code == 0
        lines = said.splitlines()
        assert lines[0].startswith(f"would remove: the consumer group marketstate of {INPUT}, ")
        assert "with the windows of 3 symbols" in lines[1]
        assert lines[2].startswith("would remove: 7 published" if options else "kept: 7 published")
        assert lines[-1] == "nothing was removed; --yes removes it"
    assert dumps(client) == before


def test_the_group_and_its_internal_keys_are_removed_and_nothing_else(
    worked: set[bytes], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    before = dumps(client)
    assert run(server, tmp_path, "purge", "--yes")[0] == 0
    internal = {key for key in before if key.startswith(f"{INTERNAL_PREFIX}:".encode())}
    ours = internal - worked
    assert len(ours) > 5
    after = dumps(client)
    assert before.keys() - after.keys() == ours
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {INPUT.encode()}, "its group is gone"
    groups: Any = client.xinfo_groups(INPUT)
    assert [group["name"] for group in groups] == [b"of another program"]
    assert client.xlen(INPUT) == len(CANDLES)


def test_with_outputs_only_the_input_is_left(
    worked: set[bytes], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    assert run(server, tmp_path, "purge", "--outputs", "--yes")[0] == 0
    assert dumps(client).keys() == worked | {INPUT.encode()}
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes")
    assert (code, "has nothing in Redis" in said) == (2, True), said


def test_published_keys_can_be_removed_after_the_others_of_the_streams(
    worked: set[bytes], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Without marks, nobody knows the symbols any more: their hashes expire by themselves."""
    assert run(server, tmp_path, "purge", "--yes")[0] == 0
    assert run(server, tmp_path, "purge", "--outputs", "--yes")[0] == 0
    left = dumps(client).keys() - worked - {INPUT.encode()}
    assert left
    assert {client.type(key) for key in left} == {b"hash", b"string"}
    assert all(client.ttl(key) > 0 for key in left)


def test_while_a_worker_is_live_it_shows_what_it_would_remove_and_refuses(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worker = SteppedWorker(server, "one")
    worker.keep()
    before = dumps(client)
    for options in ((), ("--yes",)):
        code, said = run(server, tmp_path, "purge", *options)
        assert (code, "nothing was removed: workers one are live; stop them" in said) == (3, True)
        assert said.startswith("would remove: the consumer group marketstate of "), said
        assert "removing" not in said
    assert dumps(client) == before
    worker.shards.release()
    assert run(server, tmp_path, "purge", "--yes")[0] == 0
    assert dumps(client).keys() == {INPUT.encode()}


def test_a_worker_that_joins_meanwhile_keeps_its_group(
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work_through(server.port, client, tmp_path, CANDLES, start="replay", **small(tmp_path))

    def join_and_unlink(*given: Any) -> int:
        SteppedWorker(server, "late").keep()
        return removal.unlink(*given)

    monkeypatch.setattr(purge, "unlink", join_and_unlink)
    code, said = run(server, tmp_path, "purge", "--yes")
    assert (code, "a worker has joined the group meanwhile" in said) == (3, True), said
    groups: Any = client.xinfo_groups(INPUT)
    assert [group["name"] for group in groups] == [b"marketstate"]
    assert client.exists(f"{INTERNAL_PREFIX}:meta")


def test_a_group_that_is_not_ours_is_refused(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    client.xgroup_create(INPUT, "marketstate", mkstream=True)
    code, said = run(server, tmp_path, "purge", "--yes")
    assert (code, "no marketstate worker created the group" in said) == (2, True), said
    client.hset(f"{INTERNAL_PREFIX}:meta", "input_stream", "another")
    code, said = run(server, tmp_path, "purge", "--yes")
    assert (code, "was created on another" in said) == (2, True), said
    assert client.xinfo_groups(INPUT)


def test_what_another_group_publishes_is_not_removed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    for group in ("one", "two"):
        worker = SteppedWorker(server, group, group=group)
        worker.keep()
        worker.shards.release()
    before = dumps(client)
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes", group="one")
    assert (code, "the group two publishes to the same keys" in said) == (2, True), said
    assert dumps(client) == before
    client.delete(TWO)
    client.set(TWO, "nobody knows where it publishes")
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes", group="one")
    assert (code, "the group two may publish to the same keys" in said) == (2, True), said
    assert run(server, tmp_path, "purge", "--yes", group="one")[0] == 0
    assert client.exists(TWO)


def test_bookkeeping_that_somebody_has_edited_can_be_removed(
    worked: set[bytes], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    client.hset(f"{INTERNAL_PREFIX}:members", mapping={"x": "of nobody", "y": "1:2", "z": ""})
    client.hset(f"{INTERNAL_PREFIX}:shard:03", b"\xff\xfe", "0")
    client.hset(f"{INTERNAL_PREFIX}:meta", b"interval:\xff", "1")
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes")
    assert code == 0, said
    assert dumps(client).keys() == worked | {INPUT.encode()}


def test_a_replay_has_its_own_way(server: EmbeddedRedis, tmp_path: Path) -> None:
    code, said = run(server, tmp_path, "purge", replay_namespace="a")
    assert (code, "marketstate replay --namespace a --clean" in said) == (2, True)


def test_all_partitions_are_removed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    workers = partition_workers(server)
    feed_by_symbol(client, made_candles(OF_PARTITIONS, FILLED), PARTITIONS)
    work_all_off(workers)
    inputs = {worker.keys.input.encode() for worker in workers}
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes", partitions=PARTITIONS)
    assert (code, "workers one are live" in said) == (3, True), said
    client.delete(*(worker.keys.members for worker in workers))
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes", partitions=PARTITIONS)
    assert (code, "with the windows of 4 symbols" in said) == (0, True), said
    assert f"the consumer group marketstate of {INPUT}:{{p*}}, with lag" in said
    assert dumps(client).keys() == inputs
    code, said = run(server, tmp_path, "purge", "--outputs", "--yes", partitions=PARTITIONS)
    assert (code, "has nothing in Redis" in said) == (2, True), said
