"""What Redis must allow a worker: the list is complete, and each right that is missing is named."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.engine.preflight import preflight
from marketstate.worker.engine.rights import Right, check_rights, needed
from marketstate.worker.engine.status import unread
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.keys import shard_name
from marketstate.worker.local.redis_server import EmbeddedRedis, free_port
from marketstate.worker.settings import Settings, settings_from
from tests.support.acl import users
from tests.support.candles import START_MS, candle, made_candles
from tests.support.monitoring import Command, monitored
from tests.support.preflights import verdicts
from tests.support.steps import SteppedWorker
from tests.support.worker_process import GROUP, INPUT, feed, feed_fields

LUA = Path(__file__).parents[2] / "worker" / "lua"
PASSWORD = "of-the-worker"
# What a connection needs, and `INFO`, which the preflight asks before it looks at rights.
OF_CONNECTIONS = {"ping", "select", "client|setname", "info", "multi", "exec"}
# Without it, the preflight is silent about what it cannot see.
FOR_WARNINGS = {"acl|dryrun"}
USERS = ("marketstate", "marketstate-replay")


def settings_of(server: EmbeddedRedis, user: str, **more: str) -> Settings:
    given = {"redis_port": str(server.port), "redis_username": user, "redis_password": PASSWORD}
    variables = {f"MARKETSTATE_{name.upper()}": text for name, text in (given | more).items()}
    return settings_from(variables, namespace="a" if user == "marketstate-replay" else None)


def call(client: redis.Redis, *words: object) -> Any:
    return client.execute_command(*words)  # type: ignore[no-untyped-call]


def rules_of(client: redis.Redis, user: str) -> list[str]:
    return users(str(client.info("server")["redis_version"]))[user].split()


@pytest.fixture
def with_users(client: redis.Redis) -> Iterator[None]:
    for user in USERS:
        call(client, "ACL", "SETUSER", user, *rules_of(client, user), f">{PASSWORD}")
    yield
    client.acl_deluser(*USERS)


def commands_in_scripts() -> set[str]:
    """As ACL rules spell them."""
    found = set()
    for path in LUA.glob("*.lua"):
        calls = re.findall(
            r"redis\.p?call\(\s*'(\w+)'(?:,\s*'(\w+)')?", path.read_text(), re.MULTILINE
        )
        # The commands of a commit are listed where they are carried out.
        calls += [(name, "") for name in re.findall(r"(\w+) = PLAIN", path.read_text())]
        literal = re.sub(r"redis\.call\(unpack\(command\)\)", "", path.read_text())
        named = re.findall(r"redis\.p?call\(|\w+ = PLAIN", literal)
        assert len(calls) == len(named), path
        for command, word in calls:
            has_words = command in ("XGROUP", "XINFO", "SCRIPT")
            found.add((f"{command}|{word}" if has_words else command).lower())
    return found


def test_every_command_of_a_script_is_in_the_list(any_settings: Settings) -> None:
    """One that is added to a script without a line in worker/engine/rights.py fails here."""
    assert commands_in_scripts() - {right.command for right in needed(any_settings)} == set()


@pytest.fixture
def any_settings(server: EmbeddedRedis) -> Settings:
    return settings_of(server, "marketstate")


def used(commands: list[Command], settings: Settings) -> set[Right]:
    """What was carried out, as rights: the keys of the worker are told from other words by name."""
    keys, found = settings.keys, set()
    for command in commands:
        words = command.words
        name = command.name.lower()
        if name in ("xgroup", "xinfo", "script", "client"):
            name = f"{name}|{words[1].lower()}"
        if name in OF_CONNECTIONS or name in ("time", "script|load"):
            continue
        first = {"xread": words.index("STREAMS") + 1 if "STREAMS" in words else 0}.get(name, 1)
        if name == "xreadgroup":
            first = words.index("STREAMS") + 1
        if "|" in name:
            first = 2
        last = len(words) if name == "xread" else first + 1
        if name == "evalsha":
            first, last = 3, 3 + int(words[2])
        mine = (
            keys.internal_prefix,
            keys.input,
            keys.output_prefix,
            keys.output_stream,
            "candles:",
        )
        found |= {Right(name, word) for word in words[first:last] if word.startswith(mine)}
    return found


def test_the_list_has_all_that_workers_do(server: EmbeddedRedis, client: redis.Redis) -> None:
    """Warm-up, back-fill, states, dead letters, leases, restoring, handing over, counting."""
    given: dict[str, Any] = {
        "symbols": "BTCUSDT",
        "backfill_keys": "candles:{symbol}:1m",
        "intervals": "1m,5m",
    }
    candles = made_candles(("BTCUSDT",), 300)
    client.zadd("candles:BTCUSDT:1m", {'{"c": 1.5}': START_MS})
    feed(client, candles[:10])
    with monitored(server) as commands:
        worker = SteppedWorker(server, "one", **given)
        assert verdicts(worker.settings) == ["ok"] * 6
        worker.keep()
        worker.finish_all()
        feed(client, candles[10:])
        feed_fields(client, [{"symbol": "BTCUSDT", "close": "none"}])
        worker.fetch()
        client.xgroup_delconsumer(INPUT, GROUP, shard_name(0))
        client.xreadgroup(GROUP, "stray", {INPUT: ">"}, count=2)
        worker.finish_all()
        other = SteppedWorker(server, "two", **given)
        assert (len(other.keep()), len(worker.keep()), len(other.keep())) == (0, 8, 8)
        groups: Any = client.xinfo_groups(INPUT)
        unread(worker.intake._client, worker.keys, groups[0] | {"lag": None}, 10)
        client.xtrim(INPUT, maxlen=0, approximate=False)
        feed(client, [candle("BTCUSDT", 400, 100.0)])
        worker.finish_all()
        for one in (worker, other):
            one.shards.release()
    of_the_test = {("xgroup|delconsumer", INPUT), ("xtrim", INPUT), ("xadd", INPUT)}
    found = used(commands, worker.settings) - of_the_test
    assert found - set(needed(worker.settings)) == set()
    assert len(found) > 150, "the scenario reaches most of the list"


@pytest.mark.usefixtures("with_users")
@pytest.mark.parametrize("user", USERS)
def test_the_users_of_the_deployment_have_all_rights_whether_the_stream_is_there_or_not(
    user: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    settings = settings_of(server, user)
    in_partition = settings_of(server, user, partitions="4").of_partition(3)
    several = settings_of(server, user, partitions="4", intervals="1m,5m,1h").of_partition(3)
    before = client.dbsize()
    for one in (settings, in_partition, several):
        assert check_rights(one) == len(needed(one))
    assert client.dbsize() == before == 0
    SteppedWorker(server, "one", **{"group": settings.group, "input_stream": settings.input_stream})
    assert check_rights(settings) == len(needed(settings))


def test_the_user_of_the_workers_may_do_nothing_that_is_not_in_the_list() -> None:
    cluster = {"MARKETSTATE_REDIS_URL": "redis+cluster://a", "MARKETSTATE_PARTITIONS": "1"}
    variables: list[dict[str, str]] = [{}, {"MARKETSTATE_SOURCE": "synthetic"}, cluster]
    all_settings = [settings_from(given).each_partition()[0] for given in variables]
    commands = {right.command for settings in all_settings for right in needed(settings)}
    granted = {rule[1:] for rule in users("7")["marketstate"].split() if rule.startswith("+")}
    assert granted == commands | OF_CONNECTIONS | FOR_WARNINGS


@pytest.mark.usefixtures("with_users")
@pytest.mark.parametrize(
    "given",
    [{}, {"source": "synthetic"}, {"partitions": "4"}, {"intervals": "1m,5m"}],
    ids=str,
)
def test_exactly_the_rights_of_the_list_are_enough(
    given: dict[str, str], server: EmbeddedRedis, client: redis.Redis
) -> None:
    [settings, *_] = settings_of(server, "marketstate", **given).each_partition()
    commands = {right.command for right in needed(settings)} | OF_CONNECTIONS
    keys = {right.key for right in needed(settings) if right.key}
    granted = (f"+{command}" for command in commands)
    call(client, "ACL", "SETUSER", "marketstate", "resetkeys", "-@all", *granted)
    call(client, "ACL", "SETUSER", "marketstate", *(f"~{key}" for key in keys))
    client.xgroup_create(settings.keys.input, "whose keys are not in the list", mkstream=True)
    findings = {finding.subject: finding for finding in preflight(settings)}
    assert [findings[name].verdict for name in ("redis", "rights", "keys")] == ["ok"] * 3
    assert findings["rights"].text.startswith(
        "Redis allows the user 'marketstate' all that a worker does: "
    )


@pytest.mark.usefixtures("with_users")
@pytest.mark.parametrize("there", [False, True], ids=["no stream", "a stream"])
def test_every_command_that_is_not_allowed_is_named_with_its_key(
    there: bool, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """`check` was green, and the worker ended at its first commit, half of it written."""
    settings = settings_of(server, "marketstate")
    if there:
        SteppedWorker(server, "one")
    keys_of: dict[str, list[str]] = {}
    for right in needed(settings):
        keys_of.setdefault(right.command, []).append(right.key)
    for command, keys in keys_of.items():
        granted = (f"+{each}" for each in OF_CONNECTIONS | keys_of.keys() - {command})
        call(client, "ACL", "SETUSER", "marketstate", "-@all", *granted)
        with pytest.raises(RedisUnusable) as refused:
            list(preflight(settings))
        expected = command.upper().replace("|", " ") + (f" on {keys[0]}" if keys[0] else "")
        assert f"does not allow the user 'marketstate' {expected}" in str(refused.value)
        assert "ACL LOG there" in str(refused.value)
    call(client, "ACL", "SETUSER", "marketstate", f"+{command}")
    assert verdicts(settings) == ["ok"] * 6


@pytest.mark.usefixtures("with_users")
def test_a_key_that_is_not_allowed_is_named(server: EmbeddedRedis, client: redis.Redis) -> None:
    settings = settings_of(server, "marketstate")
    for key in sorted({right.key for right in needed(settings)} - {""}):
        others = {right.key for right in needed(settings)} - {key, ""}
        call(client, "ACL", "SETUSER", "marketstate", "resetkeys", *(f"~{one}" for one in others))
        with pytest.raises(RedisUnusable, match=re.escape(f" on {key}") + "[,;]"):
            check_rights(settings)


@pytest.mark.parametrize("command", ["XADD", "HSET", "XGROUP", "LTRIM"])
def test_a_command_that_was_renamed_is_named(command: str, server_binary: Path) -> None:
    with EmbeddedRedis(server_binary, "--rename-command", command, f"OLD{command}") as server:
        settings = settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})
        with pytest.raises(RedisUnusable, match=f"does not know {command}: renamed or disabled"):
            list(preflight(settings))


def test_a_redis_that_refuses_writes_does_not_pass(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    settings = settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})
    for name, value, says in (
        ("min-replicas-to-write", "1", "too few replicas are connected"),
        ("maxmemory", "1", "is full and refuses writes"),
    ):
        client.config_set(name, value)
        with pytest.raises(RedisUnusable, match=says):
            list(preflight(settings))
        client.config_set(name, "0")
    assert verdicts(settings) == ["ok"] * 6


@pytest.mark.parametrize(("read_only", "says"), [("yes", "a read-only"), ("no", "a writable")])
def test_a_replica_is_refused_even_if_it_is_writable(
    read_only: str, says: str, server_binary: Path
) -> None:
    """What is written to a replica is gone after its next resync, and the group with it."""
    replica_of = ("--replicaof", "127.0.0.1", str(free_port()))
    with EmbeddedRedis(server_binary, *replica_of, "--replica-read-only", read_only) as server:
        settings = settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})
        with pytest.raises(RedisUnusable, match=f"is {says} replica.*connect to its master"):
            list(preflight(settings))
