"""A commit that breaks off half-way, anywhere and for any reason, is completed once."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from marketstate.worker.engine.broken_commits import broken_commits, complete
from marketstate.worker.engine.changes import Changes
from marketstate.worker.engine.mark import Mark
from marketstate.worker.errors import CommitBrokenOff, LeaseLost, RedisUnusable, RolledBack
from marketstate.worker.keys import shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.store import scripts
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.scripts import Scripts
from tests.support.acl import set_user
from tests.support.broken_commit import (
    COMMITS,
    KNOWN,
    SHARDS,
    Seen,
    before_and_after,
    feed_first,
    new_worker,
    seen,
    worker_at_the_batch,
)
from tests.support.candles import as_envelope, candle, made_candles
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    WorkerProcess,
    counters,
    everything,
    expire_leases,
    feed,
    feed_fields,
    published,
    wait_until_finished,
)

LUA: Final = Path(scripts.__file__).parents[1] / "lua"
PASSWORD: Final = "of-the-worker"
USER: Final[dict[str, Any]] = {"redis_username": "marketstate", "redis_password": PASSWORD}


def called(*names: str) -> set[str]:
    """The commands of Redis in these Lua files."""
    text = "".join((LUA / f"{name}.lua").read_text() for name in names)
    return {*re.findall(r"\b([A-Z]+) = PLAIN", text), *re.findall(r"redis\.call\('(\w+)'", text)}


# HDEL is for symbols that retire; another test covers those.
WRITTEN = sorted(called("carry_out") - {"HDEL"})
# EXISTS and XRANGE are for a commit whose entries are not pending; other tests cover those.
OTHERS = {"EXISTS", "HDEL", "XRANGE"}
ALL = sorted(called("integer", "stream", "clock", "carry_out", "spell_out", "commit") - OTHERS)


def test_the_commands_of_a_commit_are_found() -> None:
    assert {"RPUSH", "LTRIM", "HSET", "PEXPIRE", "XADD", "XACK"} <= {*WRITTEN}
    assert {*WRITTEN, "GET", "HGET", "XPENDING", "TYPE", "TIME"} <= {*ALL}


@pytest.fixture
def user(client: redis.Redis) -> Iterator[None]:
    """The worker's user as it is deployed."""
    set_user(client, "marketstate", PASSWORD)
    yield
    client.acl_deluser("marketstate")


def take_right_away(client: redis.Redis, command: str) -> None:
    client.execute_command("ACL", "SETUSER", "marketstate", f"-{command}")  # type: ignore[no-untyped-call]


def give_rights_back(client: redis.Redis) -> None:
    set_user(client, "marketstate", PASSWORD)


def work(server: EmbeddedRedis, worker_id: str, **changes: Any) -> SteppedWorker:
    worker = new_worker(server, worker_id, **changes)
    worker.keep()
    worker.finish_all()
    return worker


def noted(client: redis.Redis) -> list[Any]:
    commits: Any = client.hgetall(COMMITS)
    return broken_commits(commits)


def judge_what_is_seen(before: Seen, found: Seen, after: Seen) -> None:
    """G3: in the middle of a commit. Everything that is there is what is there in the end, none of
    it twice, and nothing is acknowledged before all the rest is written.
    """
    for symbol, states in found.published.items():
        assert states == after.published[symbol][: len(states)]
        assert len(states) >= len(before.published.get(symbol, []))
    assert found.dead == after.dead[: len(found.dead)]
    for key, fields in found.states().items():
        assert fields in (before.hashes.get(key), after.hashes[key])
    for key, record in found.records.items():
        assert record in (before.records.get(key), after.records[key])
    if found.pending < before.pending:
        assert found._replace(pending=0) == after


def complete_with_a_new_worker(
    server: EmbeddedRedis, client: redis.Redis, after: Seen, **changes: Any
) -> None:
    """Everything is as in a run without faults, also after more candles."""
    expire_leases(client)
    last = work(server, "last", **changes)
    assert seen(client) == after
    assert noted(client) == []
    feed_fields(client, [as_envelope(candle(symbol, 20, 100.0)) for symbol in KNOWN])
    assert last.finish_all() == len(KNOWN)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("command", ALL)
def test_a_right_that_is_taken_away_and_given_back_costs_nothing(
    command: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G3, G5: every command that a commit uses. In between, no worker can continue."""
    before, after = before_and_after(server, client)
    first = worker_at_the_batch(server, client, **USER)
    changes = first.advance(first.fetch())
    take_right_away(client, command)
    with pytest.raises((CommitBrokenOff, redis.ResponseError)) as refused:
        first.apply(changes)
    found = seen(client)
    judge_what_is_seen(before, found, after)
    if isinstance(refused.value, CommitBrokenOff):
        assert re.search(rf"broke off at {command}|broke off at (COUNT|FINISH)", str(refused.value))
        assert "ACL LOG" in str(refused.value)
        (commit,) = noted(client)
        assert len(commit.shards) == SHARDS
    else:
        assert found == before

    expire_leases(client)
    with pytest.raises((CommitBrokenOff, redis.ResponseError)):
        work(server, "second", **USER)
    assert seen(client) == found
    give_rights_back(client)
    complete_with_a_new_worker(server, client, after, **USER)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("command", WRITTEN)
def test_others_who_route_meanwhile_do_not_take_the_entries_for_lost_or_returned(
    command: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: what is noted and what is pending differ until the commit is completed."""
    _, after = before_and_after(server, client)
    first = worker_at_the_batch(server, client, **USER)
    changes = first.advance(first.fetch())
    take_right_away(client, command)
    with pytest.raises((CommitBrokenOff, redis.ResponseError)):
        first.apply(changes)
    assert new_worker(server, "other").fetch() == []
    give_rights_back(client)
    complete_with_a_new_worker(server, client, after, **USER)


@pytest.mark.parametrize("command", WRITTEN)
def test_a_command_that_is_renamed_for_a_while_costs_nothing(
    command: str, server_binary: Path, tmp_path: Path
) -> None:
    """G3, G5: the server restarts with the new name, and later without it."""
    conf = tmp_path / "redis.conf"
    conf.touch()
    with EmbeddedRedis(server_binary, "--include", str(conf)) as server:
        with server.client() as client:
            before, after = before_and_after(server, client)
            worker_at_the_batch(server, client).fetch()
            client.save()
        server.stop()
        conf.write_text(f"rename-command {command} another-name\n")
        server.start()
        with server.client() as client:
            expire_leases(client)
            with pytest.raises((CommitBrokenOff, redis.ResponseError)):
                work(server, "second")
            judge_what_is_seen(before, seen(client), after)
            client.save()
        server.stop()
        conf.write_text("")
        server.start()
        with server.client() as client:
            complete_with_a_new_worker(server, client, after)


OF_THE_BATCH = "#commands > 70"
NAMES = """
local names = {}
for i, command in ipairs(cmsgpack.unpack(ARGV[1])) do names[i] = command[1] end
return names
"""


def planted(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """`fault` is Lua that runs before each command of a commit; `at` is its number."""
    original = scripts._source

    def source(*names: str) -> str:
        text = original(*names)
        place = "local command = commands[at]\n      local act"
        assert text.count(place) == ("carry_out" in names)
        return text.replace(place, f"{fault}\n      {place}")

    monkeypatch.setattr(scripts, "_source", source)


def commands_of_the_batch(
    server: EmbeddedRedis,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    **changes: Any,
) -> list[str]:
    """Those that are left if the first one fails."""
    with monkeypatch.context() as patch:
        planted(patch, f"if {OF_THE_BATCH} then error('planted') end")
        worker = worker_at_the_batch(server, client, **changes)
        with pytest.raises(CommitBrokenOff):
            worker.apply(worker.advance(worker.fetch()))
    commits: Any = client.hgetall(COMMITS)
    [packed] = [text.split(b"\n", 1)[1] for text in commits.values() if b"\n" in text]
    client.flushall()
    names: Any = client.eval(NAMES, 0, packed)
    return [name.decode() for name in names]


@pytest.fixture(scope="module")
def one_server(any_server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(any_server_binary) as server:
        yield server


@pytest.mark.parametrize("positions", ["odd", "even"])
def test_an_error_at_any_command_is_repaired(
    positions: str, one_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: whatever is before it is done once, and so is whatever is behind it. Also where the
    completion breaks off a few times more.
    """
    server, client = one_server, one_server.client()
    client.flushall()
    before, after = before_and_after(server, client)
    commands = commands_of_the_batch(server, client, monkeypatch)
    assert {*commands} == {*WRITTEN} - {"HGET"} | {"COUNT", "FINISH", "MARK"}
    for number in range(1 if positions == "odd" else 2, len(commands) + 1, 2):
        client.flushall()
        with monkeypatch.context() as patch:
            planted(patch, f"if {OF_THE_BATCH} and at == {number} then error('planted') end")
            first = worker_at_the_batch(server, client)
            with pytest.raises(CommitBrokenOff, match=f"at {commands[number - 1]} .*planted"):
                first.apply(first.advance(first.fetch()))
        judge_what_is_seen(before, seen(client), after)
        left = len(commands) - number + 1
        for further in (1, 2, 9):
            if further > left:
                break
            expire_leases(client)
            with monkeypatch.context() as patch:
                planted(patch, f"if at == {further} then error('again') end")
                with pytest.raises(CommitBrokenOff, match="again"):
                    new_worker(server, f"after-{further}").keep()
            left -= further - 1
            judge_what_is_seen(before, seen(client), after)
        complete_with_a_new_worker(server, client, after)


def test_a_retirement_that_broke_off_at_any_command_is_completed(
    one_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: no symbol is partly removed, and each is counted once."""
    server, client = one_server, one_server.client()
    retired = {shard_of(symbol, SHARDS): [symbol] for symbol in KNOWN[:2]}
    finished: dict[int, list[bytes]] = {shard: [] for shard in retired}
    changes = Changes(finished=finished, retired=retired, counters=Counter(retired=2))
    for number in range(1, 10):
        client.flushall()
        with monkeypatch.context() as patch:
            planted(patch, f"if #commands == 9 and at == {number} then error('planted') end")
            first = new_worker(server, "first")
            first.keep()
            feed_first(client)
            first.finish_all()
            with pytest.raises(CommitBrokenOff, match="planted"):
                first.apply(changes)
        expire_leases(client)
        last = work(server, "last")
        assert {symbol for _, symbol, _ in last.shards.remembered()} == {*KNOWN[2:]}
        assert {*seen(client).windows} == {
            each.keys.window(symbol).encode()
            for each in last.settings.each_interval
            for symbol in KNOWN[2:]
        }
        assert counters(client)["retired"] == 2


def test_marks_that_have_the_time_get_it_when_they_are_written(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: with MARKETSTATE_RATE_CLOCK=wall, a mark says when the state was published."""
    changes = {"rate_clock": "wall", "publish_interval": 60}
    commands = commands_of_the_batch(server, client, monkeypatch, **changes)
    with monkeypatch.context() as patch:
        place = f"#commands == {len(commands)} and at == {commands.index('MARK') + 4}"
        planted(patch, f"if {place} then error('planted') end")
        first = worker_at_the_batch(server, client, **changes)
        with pytest.raises(CommitBrokenOff, match="at MARK"):
            first.apply(first.advance(first.fetch()))
    expire_leases(client)
    last = new_worker(server, "last", **changes)
    last.keep()
    marks = {symbol: memory.mark for _, symbol, memory in last.shards.remembered()}
    assert marks.pop("SOLUSDT") == Mark()  # its window has started over
    for symbol, mark in marks.items():
        assert abs(mark.published_ms - clock_ms(client.time())) < 60_000, symbol


def broken(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, at: int = 30
) -> SteppedWorker:
    """The worker whose commit broke off; it still holds its leases."""
    with monkeypatch.context() as patch:
        planted(patch, f"if {OF_THE_BATCH} and at == {at} then error('planted') end")
        worker = worker_at_the_batch(server, client)
        with pytest.raises(CommitBrokenOff):
            worker.apply(worker.advance(worker.fetch()))
    return worker


def test_a_worker_without_the_lease_completes_and_clears_nothing(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: it was paused between taking the shard and completing its commit."""
    worker = broken(server, client, monkeypatch)
    tokens = {shard: worker.shards.token(shard) for shard in worker.shards}
    expire_leases(client)
    client.set(worker.keys.lease(1), "other:99")
    before = everything(client)
    for shard, token in tokens.items():
        with pytest.raises(LeaseLost):
            complete(Scripts(client), worker.keys, shard, token)
    assert everything(client) == before
    assert complete(Scripts(client), worker.keys, 1, "other:99") != b""
    assert everything(client) != before


def test_two_workers_that_take_shards_of_one_broken_commit_complete_it_once(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: the first one completes it for both shards."""
    _, after = before_and_after(server, client)
    worker = broken(server, client, monkeypatch)
    expire_leases(client)
    for shard in range(SHARDS):
        client.set(worker.keys.lease(shard), f"{shard % 2}:99")
    ids = {
        complete(Scripts(client), worker.keys, shard, f"{shard % 2}:99") for shard in range(SHARDS)
    }
    assert len(ids) == 1
    assert seen(client) == after
    complete_with_a_new_worker(server, client, after)


def test_a_completion_whose_reply_is_lost_is_not_repeated(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: the worker cannot know; the next session finds it complete."""
    _, after = before_and_after(server, client)
    broken(server, client, monkeypatch)
    expire_leases(client)
    second = new_worker(server, "second")
    with monkeypatch.context() as patch:
        original = Scripts(client).complete

        def completed_and_lost(keys: list[str], args: list[str]) -> None:
            original(keys=keys, args=args)
            raise redis.ConnectionError

        patch.setattr(second.shards._scripts, "complete", completed_and_lost)
        with pytest.raises(redis.ConnectionError):
            second.keep()
    assert seen(client) == after
    complete_with_a_new_worker(server, client, after)


def test_nothing_is_committed_on_a_shard_whose_last_commit_broke_off(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3: even if the worker itself continued, with its leases held."""
    worker = broken(server, client, monkeypatch)
    feed_fields(client, [as_envelope(candle("BTCUSDT", 30, 100.0))])
    changes = worker.advance(worker.fetch())
    before = everything(client)
    with pytest.raises(RolledBack):
        worker.apply(changes)
    assert everything(client) == before


@pytest.mark.parametrize("key", ["window", "state", "record"])
def test_a_symbol_that_is_damaged_meanwhile_holds_up_no_other(
    key: str, server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: the rest of the commit is executed, except for the damaged key."""
    _, after = before_and_after(server, client)
    worker = broken(server, client, monkeypatch, at=1)
    damaged = str(getattr(worker.keys, key)("ETHUSDT"))
    client.delete(damaged)
    client.zadd(damaged, {"damaged": 1})
    expire_leases(client)
    shard = shard_of("BTCUSDT", SHARDS)
    client.set(worker.keys.lease(shard), "other:99")
    complete(Scripts(client), worker.keys, shard, "other:99")
    found = seen(client)
    assert found.published == after.published
    assert (found.dead, found.pending) == (after.dead, 0)
    assert client.zrange(damaged, 0, -1) == [b"damaged"]
    assert noted(client) == []


def test_a_removed_note_is_reported_and_the_shard_refused(
    server: EmbeddedRedis, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(server, client, monkeypatch)
    commits: Any = client.hgetall(COMMITS)
    for consumer, text in commits.items():
        client.hset(COMMITS, consumer, text.partition(b":")[0] + b":begun")
    expire_leases(client)
    with pytest.raises(RedisUnusable, match=f"{COMMITS} says that a commit broke off"):
        new_worker(server, "second").keep()


@pytest.mark.usefixtures("user")
def test_the_worker_ends_with_the_reason_and_all_commands_show_it(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G3: as processes. When the right is restored, the next worker completes it by itself."""
    settings = {**USER, "start": "replay", "lease_seconds": 1}
    failure = "the last commit of shard-10 broke off at XACK quantum:stream:market.klines: "
    with WorkerProcess(server.port, tmp_path, worker_id="one", **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        take_right_away(client, "XACK")
        feed(client, made_candles(("BTCUSDT",), 260))
        assert worker.exit_code() == 3
        assert failure in worker.log.splitlines()[-1]
        assert "ACL LOG" in worker.log.splitlines()[-1]
    assert [commit.shards for commit in noted(client)] == [["shard-10"]]
    give_rights_back(client)
    looks = {"status": 0, "check": 0, "verify": 4}
    for command, exit_code in looks.items():
        with WorkerProcess(server.port, tmp_path, command, **settings) as look:
            assert (look.exit_code(), failure in look.log) == (exit_code, True), look.log
    with WorkerProcess(server.port, tmp_path, worker_id="two", **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        assert "shard-10: its last commit broke off at XACK" in worker.log
        wait_until_finished(client, 260)
        assert worker.terminate() == 0
    assert (counters(client), len(published(client)["BTCUSDT"])) == (
        {"applied": 260, "emitted": 4},
        4,
    )
