"""The examples: a producer, and readers, run as Redis users who may only read the outputs."""

import ast
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import encode_record, hash_fields, stream_fields
from marketstate.schemas.reader import OUTPUT_STREAM
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import candle, made_candles
from tests.support.processes import PATIENCE_S, environment, piped
from tests.support.records import make_record, publish
from tests.support.replaying import SYMBOLS, run, stream_of, write_csv
from tests.support.steps import SteppedWorker
from tests.support.worker_process import values, wait_until

PRODUCER = "publish_candles.py"
EXAMPLES = Path(__file__).parents[2] / "scripts/examples"


def url_of(server: EmbeddedRedis, client: redis.Redis, user: str) -> str:
    set_user(client, user, "only-reads")
    return f"redis://{user}:only-reads@127.0.0.1:{server.port}"


def start(name: str, url: str, *arguments: str) -> "subprocess.Popen[str]":
    return piped([sys.executable, EXAMPLES / name, *arguments], REDIS_URL=url)


def everything(client: redis.Redis) -> dict[bytes, Any]:
    keys: Any = client.keys()
    return values(client, keys)


def test_sizes_are_proposed_from_the_hash_and_nothing_is_written(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    now_ms = int(time.time() * 1_000)
    quiet, wild, old = (
        msgspec.structs.replace(make_record(symbol, 0, sigma=sigma, ts=ts), close_time_ms=close_ms)
        for symbol, sigma, ts, close_ms in (
            ("QUIET", 0.0001, 1.0, now_ms),
            ("WILD", 0.001, 0.0, now_ms),
            ("OLD", 0.001, 0.0, now_ms - 600_000),
        )
    )
    publish(client, (quiet, wild, old))
    before = everything(client)
    url = url_of(server, client, "marketstate-reader")
    example = start("size_by_volatility.py", url, "QUIET", "WILD", "OLD", "NONE")
    output, errors = example.communicate(timeout=PATIENCE_S)
    assert (example.returncode, errors) == (0, "")
    sized = [line.rpartition("would ")[2] for line in output.splitlines()]
    kept = "keep the current size"
    assert sized == ["size to 100% of full size", "size to 25% of full size", kept, kept]
    assert "OLD: state is 0:10:0" in output
    assert everything(client) == before


def is_through(
    client: redis.Redis, example: "subprocess.Popen[str]", stream: str = OUTPUT_STREAM
) -> bool:
    assert example.poll() is None, example.communicate()
    groups: Any = client.xinfo_groups(stream)
    end: Any = client.xinfo_stream(stream)
    return bool(groups) and (0, end["last-generated-id"]) == (
        groups[0]["pending"],
        groups[0]["last-delivered-id"],
    )


def test_regime_changes_and_spikes_are_printed_and_everything_is_acknowledged(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    regimes = ("chop", "chop", "trend", "mr")
    publish(client, (make_record("BTCUSDT", i, regime) for i, regime in enumerate(regimes)))
    spikes = (1.0, 0.4, 0.3, 1.0, 1.6)
    publish(client, (make_record("ETH", i, spike_proxy=spike) for i, spike in enumerate(spikes)))
    url = url_of(server, client, "marketstate-consumer")
    example = start("watch_regimes.py", url, "--from-start")
    wait_until(lambda: is_through(client, example), "the example has acknowledged everything")
    example.send_signal(signal.SIGTERM)
    output, errors = example.communicate(timeout=PATIENCE_S)
    assert (example.returncode, errors) == (0, "")
    assert output.splitlines() == [
        "BTCUSDT: chop -> trend: would let it run",
        "BTCUSDT: trend -> mr: would harvest at the edges of its range",
        "ETH: spike, spike_proxy 0.40: would widen the distances",
        "ETH: calm, spike_proxy 1.60: would narrow the distances",
    ]


def test_what_another_program_writes_ends_no_example(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    """Neither at first nor after a restart: every entry is acknowledged."""
    fields: Any = msgspec.structs.asdict(hash_fields(make_record("OTHER", 0)))
    client.hset("quantum:marketstate:OTHER", mapping=fields)
    publish(client, [make_record("BTCUSDT", 0)])
    entry_id: Any = client.xadd(OUTPUT_STREAM, {"symbol": "OTHER", "regime": "chop"})
    publish(client, [make_record("BTCUSDT", 1, "trend")])
    url = url_of(server, client, "marketstate-reader")
    example = start("size_by_volatility.py", url, "OTHER", "BTCUSDT")
    output, errors = example.communicate(timeout=PATIENCE_S)
    assert (example.returncode, errors) == (0, "")
    of_other, of_btc = output.splitlines()
    assert "OTHER: not a state of a worker (quantum:marketstate:OTHER has no record at" in of_other
    assert of_btc.startswith("BTCUSDT: state is ")
    url = url_of(server, client, "marketstate-consumer")
    example = start("watch_regimes.py", url, "--from-start")
    wait_until(lambda: is_through(client, example), "the example has acknowledged everything")
    example.send_signal(signal.SIGTERM)
    output, errors = example.communicate(timeout=PATIENCE_S)
    assert (example.returncode, output) == (0, "BTCUSDT: chop -> trend: would let it run\n")
    told = f"skipped 1 entries that no worker wrote, the last one {entry_id.decode()}: see "
    assert errors == f"{told}`marketstate check`\n"


def test_the_producer_appends_candles_that_a_worker_applies_and_names_lines_it_cannot_use(
    server: EmbeddedRedis,
) -> None:
    lines = [json.dumps(schema_free(candle("BTCUSDT", i, 100.0 + i))) for i in range(3)]
    lines[1:1] = ["not JSON", '{"symbol": "BTCUSDT"}']
    done = subprocess.run(
        [sys.executable, EXAMPLES / PRODUCER],
        input="\n".join(lines),
        env=environment() | {"REDIS_URL": f"redis://127.0.0.1:{server.port}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    said = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in said] == ["line 2 is left out", "line 3 is left out"]
    assert applied(server) == {"applied": 3}


def test_the_line_of_the_readme_appends_a_candle_that_a_worker_applies(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    readme = (EXAMPLES.parents[1] / "README.md").read_text()
    (line,) = [line for line in readme.splitlines() if line.startswith("    redis-cli XADD ")]
    words = subprocess.run(
        ["bash", "-c", f"redis-cli() {{ printf '%s\\n' \"$@\"; }}; {line}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    client.execute_command(*words)  # type: ignore[no-untyped-call]
    assert applied(server) == {"applied": 1}


def schema_free(one: Candle) -> dict[str, Any]:
    """As another program would write it."""
    return {
        "symbol": one.symbol,
        "interval": one.interval,
        "close": one.close,
        "close_time": one.close_time,
        "something": "else",
    }


def applied(server: EmbeddedRedis) -> dict[str, int]:
    """The counters of a worker that has finished everything."""
    worker = SteppedWorker(server, "one")
    worker.keep()
    worker.finish_all()
    with server.client() as client:
        found: Any = client.hgetall(worker.keys.counters)
    return {name.decode(): int(count) for name, count in found.items() if int(count)}


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "127.0.0.1"])
@pytest.mark.parametrize("name", ["size_by_volatility.py", "watch_regimes.py", PRODUCER])
def test_a_redis_that_cannot_be_used_is_one_clear_line(name: str, url: str) -> None:
    example = start(name, url, *(["BTCUSDT"] if name.startswith("size") else []))
    _, complaint = example.communicate()
    assert (example.returncode, len(complaint.splitlines())) == (1, 1), complaint
    does = "write to" if name == PRODUCER else "read from"
    assert complaint.startswith(f"cannot {does} Redis, see REDIS_URL: ")


USED: dict[str, set[str]] = {
    PRODUCER: {"json", "redis.backoff", "redis.retry", "marketstate.schemas.partitions", "typing"},
    "sigma_by_hour.py": {"matplotlib.pyplot", "marketstate.schemas.frames"},
    "model_from_history.py": {"numpy", "typing", "marketstate.schemas.frames"},
}


def test_the_examples_import_redis_and_schemas_and_nothing_that_could_send() -> None:
    """G7"""
    usual = {"argparse", "collections.abc", "datetime", "os", "redis", "signal", "sys", "time"}
    usual |= {"marketstate.schemas.reader", "marketstate.schemas.market_state"}
    for path in EXAMPLES.glob("*.py"):
        allowed = usual | USED.get(path.name, set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module in allowed, path


@pytest.fixture(scope="module")
def history(shared_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 40 candles, and in the streams of a replay `live` the same states and newer ones."""
    folder = tmp_path_factory.mktemp("history")
    first, all_of_them = folder / "first", folder / "all"
    candles = made_candles(SYMBOLS, 60)
    for some, count in ((first, 40), (all_of_them, 60)):
        some.mkdir()
        for symbol in SYMBOLS:
            write_csv(some, symbol, candles[: count * len(SYMBOLS)])
    path = folder / "states.parquet"
    words: Any
    for words in (
        ("history", first, "--every-close", "--processes", 1, "--out", path),
        ("replay", all_of_them, "--namespace", "live", "--workers", 1),
    ):
        code, log = run(shared_server, folder, *words, publish_interval=1)
        assert code == 0, log
    return path


def test_a_model_of_a_history_gives_the_same_forecasts_of_live_states(
    shared_server: EmbeddedRedis, history: Path
) -> None:
    stream = stream_of("live", output=True)
    url = f"redis://127.0.0.1:{shared_server.port}"
    example = start("model_from_history.py", url, str(history), "--stream", stream, "--from-start")
    with shared_server.client() as client:
        wait_until(lambda: is_through(client, example, stream), "the example has read all")
    example.send_signal(signal.SIGTERM)
    output, errors = example.communicate(timeout=PATIENCE_S)
    assert (example.returncode, errors) == (0, "")
    model, *lines, end = output.splitlines()
    assert model.startswith("next sigma = ")
    assert len(lines) == 3 * 52
    assert end == f"156 live states, {3 * 32} of them in the file: {3 * 32} forecasts are the same"


def test_sigma_by_hour_is_drawn_from_a_history(history: Path, tmp_path: Path) -> None:
    picture = tmp_path / "sigma.png"
    example = start("sigma_by_hour.py", "", str(history), str(picture))
    output, errors = example.communicate(timeout=PATIENCE_S)
    assert (example.returncode, errors) == (0, "")
    assert output.splitlines()[-1] == f"wrote {picture}: 3 symbols, {3 * 32} states"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_sigma_by_hour_draws_in_a_notebook_too(history: Path, tmp_path: Path) -> None:
    (tmp_path / "states.parquet").symlink_to(history)
    # As a kernel runs a cell: it is interactive, and has arguments of its own.
    cell = (
        f"import sys; sys.ps1 = 'In: '; exec(open({str(EXAMPLES / 'sigma_by_hour.py')!r}).read())"
    )
    kernel = [sys.executable, "-c", cell, "-f", "kernel.json"]
    subprocess.run(kernel, cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "sigma.png").exists()


@pytest.mark.one_redis_version
def test_the_examples_find_the_partition_of_a_symbol(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    url = f"redis://127.0.0.1:{server.port}"
    subprocess.run(
        [sys.executable, EXAMPLES / PRODUCER, "--partitions", "16"],
        input=json.dumps(schema_free(candle("BTCUSDT", 0, 100.0))),
        env=environment() | {"REDIS_URL": url},
        text=True,
        check=True,
    )
    assert client.xlen("quantum:stream:market.klines:{p10}") == 1
    record = msgspec.structs.replace(
        make_record("BTCUSDT", 0), close_time_ms=int(time.time() * 1_000)
    )
    client.set("quantum:marketstate-record:{p10}:BTCUSDT", encode_record(record))
    example = start("size_by_volatility.py", url, "--partitions", "16", "BTCUSDT")
    assert "would size to" in example.communicate(timeout=PATIENCE_S)[0]
    fields: Any = msgspec.structs.asdict(stream_fields(record, encode_record(record)))
    client.xadd(f"{OUTPUT_STREAM}:{{p10}}", fields)
    options = ("--partitions", "16", "--from-start")
    example = start("watch_regimes.py", url, *options)
    wait_until(
        lambda: client.exists(f"{OUTPUT_STREAM}:{{p15}}") and group_lag(client) == 0, "it is read"
    )
    example.send_signal(signal.SIGTERM)
    example.communicate(timeout=PATIENCE_S)
    assert example.returncode == 0


def group_lag(client: redis.Redis) -> Any:
    """Entries that the group has not been given; None before it exists."""
    groups: Any = client.xinfo_groups(f"{OUTPUT_STREAM}:{{p10}}")
    return next((group.get("lag", 0) for group in groups), None)
