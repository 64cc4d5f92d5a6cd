"""deploy/redis/users.acl: each user can do its work, and nothing else."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from marketstate.worker.keys import shard_name, shard_of
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import users
from tests.support.candles import MINUTE_MS, START_MS, candle, made_candles
from tests.support.redis_versions import version_of
from tests.support.steps import SteppedWorker
from tests.support.worker_process import (
    DEAD,
    GROUP,
    INPUT,
    INTERNAL_PREFIX,
    OUTPUT,
    WorkerProcess,
    counters,
    feed,
    feed_fields,
    finished,
    group_info,
    published,
    wait_until,
)

ROOT = Path(__file__).parents[2]
README = ROOT / "deploy" / "redis" / "README.md"
PASSWORD = "of-all-users"
STATE = "quantum:marketstate:BTCUSDT"
RECORD = "quantum:marketstate-record:BTCUSDT"
CACHE = "candles:BTCUSDT:1m"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
WHO: dict[str, Any] = {
    "redis_username": "marketstate",
    "redis_password": PASSWORD,
    "lease_seconds": 1,
}


def call(client: redis.Redis, *command: object) -> Any:
    return client.execute_command(*command)  # type: ignore[no-untyped-call]


@pytest.fixture
def version(client: redis.Redis) -> str:
    return str(client.info("server")["redis_version"])


@pytest.fixture
def with_users(client: redis.Redis, version: str) -> Iterator[None]:
    for name, rules in users(version).items():
        call(client, "ACL", "SETUSER", name, *rules.split(), f">{PASSWORD}")
    client.acl_log_reset()
    yield
    client.acl_deluser(*users(version))


@contextmanager
def logged_in(server: EmbeddedRedis, name: str) -> Iterator[redis.Redis]:
    never = Retry(NoBackoff(), 0)
    with redis.Redis(
        port=server.port, username=name, password=PASSWORD, protocol=2, retry=never
    ) as client:
        yield client


def refusals(client: redis.Redis) -> list[tuple[str, str]]:
    """What was refused so far, except the command with which redis-py sends its name: Redis 6.2
    and 7.0 do not know it.
    """
    entries: Any = client.acl_log()
    return [
        (entry["username"], f"{entry['reason']} {entry['object']}")
        for entry in entries
        if not entry["object"].startswith("client")
    ]


def wait_until_finished_or_refused(client: redis.Redis, entries: int) -> None:
    """Show a refusal instead of waiting until the timeout."""
    wait_until(lambda: finished(client) >= entries or refusals(client), f"{entries} are finished")
    assert (refusals(client), finished(client)) == ([], entries)


@pytest.mark.usefixtures("with_users")
def test_the_workers_user_can_do_all_its_work(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Warm-up, backfill, routing, commit, dead letters, rebalancing, takeover, synthetic candles,
    and all read-only commands. `refusals` comes from Redis's own log.
    """
    old = made_candles(("BTCUSDT", "ETHUSDT"), 258)
    feed(client, old)
    for i in range(258):
        close = 100 + i % 7
        time_ms = START_MS + i * MINUTE_MS
        client.rpush("klines:SOLUSDT:1m", f'{{"close": {close}, "open_time": {time_ms}}}')
        client.zadd("candles:XRPUSDT:1m", {f'{{"c": {close}, "n": {i}}}': time_ms})
    with ExitStack() as stack:

        def start(*command: str, **more: object) -> WorkerProcess:
            process = WorkerProcess(server.port, tmp_path, *command, **(WHO | more))
            return stack.enter_context(process)

        first = start(worker_id="first")
        wait_until_finished_or_refused(client, len(old))
        new = [candle(symbol, 258, 100.0) for symbol in SYMBOLS]
        feed(client, new)
        feed_fields(client, [{"symbol": "BTCUSDT", "close": "none"}])
        wait_until_finished_or_refused(client, len(old) + 5)
        second = start(worker_id="second")
        second.wait_for_log("holding 8 of 16 shards")
        first.terminate()
        second.wait_for_log("holding 16 of 16 shards")
        assert counters(client) == {"applied": len(old) + 4, "dead": 1, "emitted": 4}
        assert set(published(client)) == set(SYMBOLS)

        for command in (
            ["check"],
            ["status", "--max-lag", "0"],
            ["verify", "--max-state-age", "inf"],
        ):
            process = start(*command)
            assert process.exit_code() == 0, process.log
        assert second.terminate() == 0
        synthetic = start(source="synthetic", worker_id="third", symbols="XRPUSDT")
        wait_until(lambda: client.xlen(f"{INPUT}.synthetic") >= 300, "candles are fed")
        synthetic.wait_for_log("holding 16 of 16 shards")
        assert synthetic.terminate() == 0
    assert refusals(client) == []


@pytest.mark.usefixtures("with_users")
def test_entries_that_were_taken_away_are_restored_by_the_workers_user(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Entries of a deleted consumer, and of a stray one."""
    candles = made_candles(("BTCUSDT", "ETHUSDT"), 20)
    first = SteppedWorker(server, "first", **WHO)
    first.keep()
    feed(client, candles[:20])
    first.fetch()
    client.xgroup_delconsumer(INPUT, GROUP, shard_name(shard_of("BTCUSDT", 16)))
    feed(client, candles[20:])
    client.xreadgroup(GROUP, "stray", {INPUT: ">"}, count=10)
    with WorkerProcess(server.port, tmp_path, worker_id="second", **WHO) as worker:
        wait_until_finished_or_refused(client, len(candles))
        assert "the consumer 'stray' held entries" in worker.log
        assert "unfinished entries were not pending for it" in worker.log
        assert worker.terminate() == 0
    assert counters(client) == {"applied": len(candles)}
    assert group_info(client)["pending"] == 0
    assert refusals(client) == []


@pytest.mark.usefixtures("with_users")
def test_a_command_for_administrators_names_no_user_that_could_run_it(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    path = tmp_path / "BTCUSDT-1m.csv"
    path.write_text("close_time,close\n1746373259999,1\n")
    for command in (["purge"], ["warm", str(path)]):
        with WorkerProcess(server.port, tmp_path, *command, **WHO) as process:
            assert process.exit_code() == 3, process.log
        assert "no user of deploy/redis/users.acl has all rights" in process.log


FORBIDDEN: dict[str, tuple[object, ...]] = {
    "FLUSHALL": ("FLUSHALL",),
    "FLUSHDB": ("FLUSHDB",),
    "CONFIG": ("CONFIG", "GET", "*"),
    "KEYS": ("KEYS", "*"),
    "ACL": ("ACL", "LIST"),
    "MONITOR": ("MONITOR",),
    "CLIENT KILL": ("CLIENT", "KILL", "TYPE", "normal"),
    "SCRIPT FLUSH": ("SCRIPT", "FLUSH"),
    "EVAL on another key": ("EVAL", "return redis.call('GET', KEYS[1])", 1, "another"),
    "EVAL on an undeclared key": ("EVAL", "return redis.call('GET', 'another')", 0),
    "PUBLISH": ("PUBLISH", "channel", "text"),
    "reading another key": ("GET", "another"),
    "writing another key": ("SET", "another", "1"),
    "deleting another key": ("DEL", "another"),
    "another stream": ("XADD", "quantum:stream:orders", "*", "a", "b"),
    "another stream with the same prefix": ("XADD", "quantum:stream:market.klines2", "*", "a", "b"),
    "RENAME": ("RENAME", STATE, f"{STATE}2"),
    "SHUTDOWN": ("SHUTDOWN", "NOSAVE"),
    "REPLICAOF": ("REPLICAOF", "NO", "ONE"),
    "MIGRATE": ("MIGRATE", "h", 1, "another", 0, 1),
}
READER_FORBIDDEN: dict[str, tuple[object, ...]] = {
    "a field of a state": ("HSET", STATE, "sigma", "0"),
    "an entry of the output": ("XADD", OUTPUT, "*", "a", "b"),
    "trimming the output": ("XTRIM", OUTPUT, "MAXLEN", 0),
    "deleting the output": ("DEL", OUTPUT),
    "deleting a state": ("DEL", STATE),
    "expiring a state": ("EXPIRE", STATE, 1),
    "the input": ("XRANGE", INPUT, "-", "+"),
    "dead letters": ("XRANGE", DEAD, "-", "+"),
    "windows": ("LRANGE", f"{INTERNAL_PREFIX}:window:BTCUSDT", 0, -1),
    "leases": ("GET", f"{INTERNAL_PREFIX}:lease:00"),
    "scripts": ("SCRIPT", "LOAD", "return 1"),
}
OF_CONSUMERS: dict[str, tuple[object, ...]] = {
    "a group": ("XGROUP", "CREATE", OUTPUT, "mine", "$"),
    "reading as a group": ("XREADGROUP", "GROUP", "mine", "me", "STREAMS", OUTPUT, ">"),
    "acknowledging": ("XACK", OUTPUT, "mine", "1-1"),
    "taking over": ("XAUTOCLAIM", OUTPUT, "mine", "me", 0, "0"),
}
ALLOWED_TO_READ: list[tuple[object, ...]] = [
    ("HGETALL", STATE),
    ("HMGET", STATE, "sigma", "ts"),
    ("GET", RECORD),
    ("TTL", STATE),
    ("XREAD", "STREAMS", OUTPUT, "0"),
    ("XREVRANGE", OUTPUT, "+", "-"),
    ("XINFO", "STREAM", OUTPUT),
    ("SCAN", 0, "MATCH", "quantum:marketstate:*"),
    ("TIME",),
]


def filled(client: redis.Redis) -> None:
    client.hset(STATE, "sigma", "1")
    client.xadd(OUTPUT, {"symbol": "BTCUSDT"})
    client.set("another", "secret")


def refused(client: redis.Redis, command: tuple[object, ...]) -> bool:
    try:
        call(client, *command)
    except redis.exceptions.NoPermissionError:
        return True
    except redis.ResponseError as error:
        return re.search("NOPERM|ACL failure|The user executing the script", str(error)) is not None
    return False


@pytest.mark.usefixtures("with_users")
def test_no_user_can_do_anything_else(
    server: EmbeddedRedis, client: redis.Redis, version: str
) -> None:
    filled(client)
    for name in users(version):
        with logged_in(server, name) as user:
            allowed = [what for what, command in FORBIDDEN.items() if not refused(user, command)]
            assert allowed == [], name


@pytest.mark.usefixtures("with_users")
def test_a_loaded_script_reaches_no_other_key(server: EmbeddedRedis, client: redis.Redis) -> None:
    """The worker's user may load scripts, but they have only its own permissions."""
    filled(client)
    with logged_in(server, "marketstate") as user:
        for body, keys in (
            ("return redis.call('GET', KEYS[1])", ("another",)),
            ("return redis.call('GET', 'another')", ()),
            ("return redis.call('FLUSHALL')", ()),
            ("return redis.call('KEYS', '*')", ()),
        ):
            digest: Any = user.script_load(body)
            assert refused(user, ("EVALSHA", digest, len(keys), *keys)), body
    assert client.get("another") == b"secret"


@pytest.mark.usefixtures("with_users")
def test_readers_read_outputs_and_write_nothing(server: EmbeddedRedis, client: redis.Redis) -> None:
    filled(client)
    may_not = READER_FORBIDDEN | OF_CONSUMERS
    with logged_in(server, "marketstate-reader") as user:
        assert [command for command in ALLOWED_TO_READ if refused(user, command)] == []
        assert [what for what, command in may_not.items() if not refused(user, command)] == []
    with logged_in(server, "marketstate-consumer") as user:
        for command in (*ALLOWED_TO_READ, *OF_CONSUMERS.values()):
            assert not refused(user, command), command
        allowed = [what for what, command in READER_FORBIDDEN.items() if not refused(user, command)]
        assert allowed == []


@pytest.mark.usefixtures("with_users")
def test_the_worker_reads_caches_and_on_redis_7_cannot_write_them(
    server: EmbeddedRedis, client: redis.Redis, version: str
) -> None:
    client.rpush(CACHE, "1")
    with logged_in(server, "marketstate") as user:
        assert user.lrange(CACHE, 0, -1) == [b"1"]
        assert version.startswith("6.") or refused(user, ("RPUSH", CACHE, "2"))


def test_no_user_can_log_in_without_a_password(
    server: EmbeddedRedis, client: redis.Redis, version: str
) -> None:
    for name, rules in users(version).items():
        call(client, "ACL", "SETUSER", name, *rules.split())
        with pytest.raises(redis.AuthenticationError), logged_in(server, name) as user:
            user.ping()
    client.acl_deluser(*users(version))


def _as_aclfile(folder: Path, text: str) -> list[str]:
    (folder / "users.acl").write_text(f"user default on nopass ~* &* +@all\n{text}")
    return ["--aclfile", str(folder / "users.acl")]


def _as_included(folder: Path, text: str) -> list[str]:
    (folder / "users.conf").write_text(text)
    return ["--include", str(folder / "users.conf")]


@pytest.mark.parametrize("how", [_as_aclfile, _as_included])
def test_a_server_starts_with_the_file(
    how: Callable[[Path, str], list[str]], server_binary: Path, tmp_path: Path
) -> None:
    """As a separate ACL file, and included in the configuration."""
    rules = users(".".join(map(str, version_of(server_binary))))
    text = "".join(f"user {name} {rule}\n" for name, rule in rules.items())
    with EmbeddedRedis(server_binary, *how(tmp_path, text)) as server, server.client() as client:
        assert set(client.acl_users()) == {"default", *rules}


def test_the_password_is_set_as_the_readme_says(any_server_binary: Path, tmp_path: Path) -> None:
    lines = README.read_text().splitlines()
    first, last = (
        next(i for i, line in enumerate(lines) if line.startswith("    (umask 077")),
        next(
            i for i, line in enumerate(lines) if line.startswith("    sed") and "users.acl" in line
        ),
    )
    script = "\n".join(lines[first : last + 1])
    for folder in ("/etc/quantum", "/etc/redis"):
        assert folder in script
        script = script.replace(folder, str(tmp_path))
    if version_of(any_server_binary) < (7,):
        script += f"\nsed -i 's/%R~/~/g' {tmp_path}/users-marketstate.conf"
    subprocess.run(["bash", "-euc", script], cwd=ROOT, check=True)
    with (
        EmbeddedRedis(
            any_server_binary, "--include", str(tmp_path / "users-marketstate.conf")
        ) as server,
        WorkerProcess(
            server.port,
            tmp_path,
            redis_username="marketstate",
            redis_password_file=tmp_path / "marketstate.password",
        ) as worker,
    ):
        worker.wait_for_log("holding 16 of 16 shards")
