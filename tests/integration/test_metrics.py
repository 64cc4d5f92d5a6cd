"""`marketstate metrics` and `verify --textfile`, of what a real worker left in a real Redis."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from msgspec.structs import replace

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.schemas.reader import latest_state
from marketstate.worker.cli import main
from marketstate.worker.engine.status import MOST_COUNTED_PERIODICALLY
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import closing_now, made_candles
from tests.support.exposition import Samples, samples
from tests.support.partitioned import feed_by_symbol
from tests.support.small_workers import FILLED, small_worker, work_off
from tests.support.stepped_partitions import PARTITIONS, SYMBOLS, partition_workers, work_all_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import DEAD, INPUT, feed, feed_fields

ENDED = "marketstate_entries_total"
ONE_REDIS_VERSION = pytest.mark.one_redis_version


@pytest.fixture
def output(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Runs a command; returns its exit code and its standard output."""
    monkeypatch.setenv("MARKETSTATE_REDIS_PORT", str(server.port))

    def run(*words: str) -> tuple[int, str]:
        code = main([*words])
        return code, capsys.readouterr().out

    return run


def metrics_of(output: Any, *options: str) -> Samples:
    code, text = output("metrics", *options)
    assert code == 0, text
    return samples(text.encode())


def worked(server: EmbeddedRedis, client: redis.Redis, **settings: Any) -> SteppedWorker:
    """Two symbols with states that closed just now, and one that is filling; a dead letter, and
    entries that wait.
    """
    worker = SteppedWorker(server, "one", lease_seconds=600, **settings)
    worker.keep()
    candles = closing_now(made_candles(("BTCUSDT", "ETHUSDT"), 259))
    feed(client, candles)
    feed_fields(client, [{"symbol": "BTCUSDT", "close": "none"}])
    feed(client, [replace(candles[-1], symbol="NEWUSDT")])
    worker.finish_all()
    feed(client, candles[:3])
    worker.fetch()
    feed(client, candles[:2])
    return worker


def leave_a_hole(client: redis.Redis) -> None:
    """Delete the last entry but one, which nobody has taken: now Redis does not know the lag."""
    newest: Any = client.xrevrange(INPUT, count=2)
    entry_id, _ = newest[1]
    client.xdel(INPUT, entry_id)


def test_the_metrics_are_what_status_says_at_the_same_moment(
    server: EmbeddedRedis, client: redis.Redis, output: Any
) -> None:
    """G8, on Redis 6.2 too, which has no lag."""
    worked(server, client)
    code, text = output("status", "--json")
    status = json.loads(text)
    got = metrics_of(output, "--per-symbol")
    assert (code, status["lag"], status["pending"]) == (0, 2, 3)
    assert got["marketstate_group_lag"] == {(): status["lag"]}
    assert got["marketstate_group_pending"] == {(): status["pending"]}
    age_s = got["marketstate_oldest_unfinished_seconds"][()]
    read_s = got["marketstate_read_timestamp_seconds"][()]
    oldest: Any = client.xpending(status["stream"], status["group"])
    assert read_s - age_s == pytest.approx(entry_time_ms(oldest["min"]) / 1_000, abs=1)
    assert {end: n for (end,), n in got[ENDED].items() if n} == {"applied": 519, "dead": 1}
    assert {end: n for (end,), n in got[ENDED].items() if n} == {
        name: n for name, n in status["counters"].items() if (name,) in got[ENDED]
    }
    assert got["marketstate_states_emitted_total"] == {(): status["counters"]["emitted"]}
    assert got["marketstate_dead_letters"] == {(): client.xlen(DEAD)}
    (worker,) = status["workers"]
    assert got["marketstate_worker_last_seen_timestamp_seconds"] == {
        (worker["worker_id"],): pytest.approx(
            status["read_ms"] / 1_000 - worker["seen_s_ago"], abs=0.002
        )
    }
    assert got["marketstate_workers"] == {(): 1}
    assert got["marketstate_shard_held"] == {
        (f"{one['shard']:02d}",): one["holder"] is not None for one in status["shards"]
    }
    assert got["marketstate_shard_pending"] == {
        (f"{one['shard']:02d}",): one["pending"] for one in status["shards"]
    }
    newest_ms = max(one["last_emitted_ms"] or 0 for one in status["symbols"])
    assert got["marketstate_last_state_timestamp_seconds"] == {(): newest_ms / 1_000}
    assert got["marketstate_symbols"] == {("fresh",): 2, ("stale",): 0, ("filling",): 1}
    assert got["marketstate_synthetic"] == {(): 0}


@ONE_REDIS_VERSION
def test_the_numbers_of_a_symbol_are_those_of_its_record(
    server: EmbeddedRedis, client: redis.Redis, output: Any
) -> None:
    worked(server, client)
    client.set("quantum:marketstate-record:ETHUSDT", "not a record")
    assert "marketstate_sigma" not in metrics_of(output)
    got = metrics_of(output, "--per-symbol")
    state = latest_state(client, "BTCUSDT")
    assert state is not None
    assert got["marketstate_last_close_timestamp_seconds"] == {
        ("BTCUSDT",): state.close_time_ms / 1_000
    }
    for name in ("sigma", "mu", "ts"):
        assert got[f"marketstate_{name}"] == {("BTCUSDT",): getattr(state, name)}
    assert got["marketstate_regime_probability"] == {
        (regime, "BTCUSDT"): getattr(state.regime_probs, regime)
        for regime in ("trend", "mr", "chop")
    }


@ONE_REDIS_VERSION
def test_the_numbers_of_a_longer_interval_are_those_of_its_own_record(
    server: EmbeddedRedis, client: redis.Redis, output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETSTATE_INTERVALS", "1m,2m")
    worker = small_worker(server, intervals="1m,2m", start="replay")
    feed(client, made_candles(("BTCUSDT",), 60))
    work_off(worker)
    got = metrics_of(output, "--per-symbol")
    [longer] = worker.settings.longer
    base, record = (
        msgspec.json.decode(client.get(keys.record("BTCUSDT")) or b"")
        for keys in (worker.keys, longer.keys)
    )
    assert got["marketstate_sigma"] == {("BTCUSDT",): base["sigma"]}
    assert got["marketstate_interval_sigma"] == {("2m", "BTCUSDT"): record["sigma"]}
    assert base["sigma"] != record["sigma"]


def test_a_lag_that_was_not_counted_to_its_end_is_absent(
    server: EmbeddedRedis, client: redis.Redis, output: Any
) -> None:
    """G8: Redis does not know it after an entry was deleted, and 6.2 never does."""
    SteppedWorker(server, "one").keep()
    feed_fields(client, [{"symbol": "A"}] * (MOST_COUNTED_PERIODICALLY + 2))
    leave_a_hole(client)
    got = metrics_of(output)
    assert "marketstate_group_lag" not in got
    assert got["marketstate_group_lag_at_least"] == {(): MOST_COUNTED_PERIODICALLY}


@ONE_REDIS_VERSION
def test_with_partitions_each_has_its_numbers_and_their_sum_is_that_of_status(
    server: EmbeddedRedis, client: redis.Redis, output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = partition_workers(server)
    feed_by_symbol(client, made_candles(SYMBOLS, FILLED), PARTITIONS)
    work_all_off(workers)
    feed_by_symbol(client, made_candles(SYMBOLS, 2), PARTITIONS)
    monkeypatch.setenv("MARKETSTATE_PARTITIONS", str(PARTITIONS))
    status = json.loads(output("status", "--json")[1])
    got = metrics_of(output)
    assert got["marketstate_up"] == {("{p00}",): 1, ("{p01}",): 1}
    assert sum(got["marketstate_group_lag"].values()) == status["lag"] == 8
    applied = {labels: n for labels, n in got[ENDED].items() if "applied" in labels}
    assert applied.keys() == {("{p00}", "applied"), ("{p01}", "applied")}
    assert sum(applied.values()) == status["counters"]["applied"]


@ONE_REDIS_VERSION
def test_a_file_of_metrics_is_replaced_as_a_whole_and_everybody_may_read_it(
    server: EmbeddedRedis, client: redis.Redis, output: Any, tmp_path: Path
) -> None:
    worked(server, client)
    path = tmp_path / "marketstate.prom"
    path.write_text("old")
    with path.open() as before:
        assert output("metrics", "--textfile", str(path)) == (0, "")
        assert before.read() == "old", "those who read it meanwhile read the old one whole"
    assert samples(path.read_bytes())["marketstate_group_lag"] == {(): 2}
    assert path.stat().st_mode & 0o777 == 0o644
    assert [*tmp_path.iterdir()] == [path]


@ONE_REDIS_VERSION
def test_a_file_that_cannot_be_written_is_named(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path, output: Any
) -> None:
    worked(server, client)
    path = tmp_path / "nowhere" / "marketstate.prom"
    for command in ("metrics", "verify"):
        assert output(command, "--textfile", str(path))[0] == 2


def test_while_redis_is_away_the_metrics_say_so_and_the_exit_code_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MARKETSTATE_REDIS_URL", f"unix://{tmp_path}/none.sock")
    path = tmp_path / "marketstate.prom"
    assert main(["metrics", "--textfile", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert samples(path.read_bytes())["marketstate_up"] == {(): 0}


@ONE_REDIS_VERSION
def test_verify_writes_what_it_found(
    server: EmbeddedRedis, client: redis.Redis, output: Any, tmp_path: Path
) -> None:
    worked(server, client).finish_all()
    path = tmp_path / "verify.prom"

    def success() -> dict[tuple[str, ...], float]:
        return samples(path.read_bytes())["marketstate_verify_success"]

    code, said = output("verify", "--textfile", str(path))
    assert (code, set(success().values())) == (0, {1}), said
    assert {("backlog",), ("recomputed",), ("workers",), ("verify",)} <= success().keys()
    client.hset("quantum:marketstate:BTCUSDT", "ts", "9")
    assert output("verify", "--textfile", str(path))[0] == 4
    assert {check for (check,), good in success().items() if not good} == {"complete"}
    client.flushall()
    assert output("verify", "--textfile", str(path))[0] == 3
    assert success() == {("verify",): 0}


def test_the_user_for_metrics_reads_all_of_it_and_writes_nothing(
    server: EmbeddedRedis, client: redis.Redis, output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what Redis does not know and a script must count."""
    worked(server, client)
    leave_a_hole(client)
    expected = metrics_of(output, "--per-symbol")
    set_user(client, "marketstate-metrics", "secret")
    monkeypatch.setenv("MARKETSTATE_REDIS_USERNAME", "marketstate-metrics")
    monkeypatch.setenv("MARKETSTATE_REDIS_PASSWORD", "secret")
    client.acl_log_reset()
    client.script_flush()
    got = metrics_of(output, "--per-symbol")
    code, said = output("status")
    assert (code, "of 257 closes" in said) == (0, True), said
    refused: Any = client.acl_log()
    with redis.Redis(port=server.port, username="marketstate-metrics", password="secret") as user:
        with pytest.raises(redis.ResponseError):
            user.xadd(INPUT, {"symbol": "A"})
        for script, key in (("DEL", INPUT), ("GET", "another")):
            with pytest.raises(redis.ResponseError):
                user.register_script(f"return redis.call('{script}', KEYS[1])")(keys=[key])
    client.acl_deluser("marketstate-metrics")
    assert [each["object"] for each in refused if not each["object"].startswith("client")] == []
    assert got.keys() == expected.keys()
    for name in ("marketstate_group_lag", "marketstate_sigma", ENDED):
        assert got[name] == expected[name]
