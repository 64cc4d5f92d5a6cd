"""Commands that read from pipes and write to them, as shells connect them."""

import gzip
import io
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.files.recordings import read_recording
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.processes import MARKETSTATE, PATIENCE_S, environment
from tests.support.replaying import (
    SYMBOLS,
    candle_folder,
    run,
    small,
    states_of,
    stream_of,
    write_csv,
)
from tests.support.worker_process import INPUT, WorkerProcess, feed, work_through

pytestmark = pytest.mark.one_redis_version
SAID = ("--symbol", "AAAUSDT", "--interval", "1m")


def fed(data: bytes, *command: object, **settings: object) -> "subprocess.CompletedProcess[bytes]":
    """A command with `data` on a pipe as its standard input."""
    return subprocess.run(
        [*MARKETSTATE, *map(str, command)],
        input=data,
        capture_output=True,
        env=environment(**settings),
        timeout=PATIENCE_S,
        check=False,
    )


def in_zip(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write_csv(tmp_path, "AAAUSDT", made_candles(("AAAUSDT",), 300))


def test_state_reads_prices_and_candles_of_every_kind_from_a_pipe(csv: Path) -> None:
    expected = fed(b"", "state", csv).stdout
    assert b"AAAUSDT: 300 prices until" in expected
    content = csv.read_bytes()
    for name in ("-", "/dev/stdin"):
        assert fed(content, "state", name, *SAID).stdout == expected
    assert fed(gzip.compress(content), "state", "-", *SAID).stdout == expected
    assert fed(in_zip(csv.name, content), "state", "-").stdout == expected
    prices = b"".join(b"%d\n" % price for price in range(100, 400))
    assert fed(prices, "state", "-").stdout.startswith(b"stdin: 300 prices, the last 399\n")


def test_history_reads_a_pipe_in_one_process_however_many_there_may_be(
    csv: Path, tmp_path: Path
) -> None:
    names = ("--symbol", "AAAUSDT", "--candle-interval", "1m")
    for name, source in {"file": csv, "pipe": "-"}.items():
        out = ("--out", tmp_path / f"{name}.jsonl.gz")
        found = fed(csv.read_bytes(), "history", source, *names, *out, "--processes", 2)
        assert found.returncode == 0, found.stderr
    file, pipe = (tmp_path / f"{name}.jsonl.gz" for name in ("file", "pipe"))
    assert file.read_bytes() == pipe.read_bytes()
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == 44


def test_a_pipe_with_another_name_is_read_too(csv: Path, tmp_path: Path) -> None:
    """Such as that of `<(zcat a.gz)`, or one that mkfifo made."""
    expected = fed(b"", "state", csv).stdout
    ours, theirs = os.pipe()
    os.write(theirs, csv.read_bytes())
    os.close(theirs)
    found = subprocess.run(
        [*MARKETSTATE, "state", f"/dev/fd/{ours}", *SAID],
        pass_fds=[ours],
        capture_output=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )
    os.close(ours)
    assert found.stdout == expected, found.stderr
    named = tmp_path / "AAAUSDT-1m.csv"
    os.mkfifo(named)
    with subprocess.Popen(
        [*MARKETSTATE, "state", str(named)], stdout=subprocess.PIPE, env=environment()
    ) as reader:
        named.write_bytes(csv.read_bytes())
        assert reader.communicate(timeout=PATIENCE_S)[0] == expected


def test_the_demo_plays_candles_from_a_pipe_to_their_end(csv: Path) -> None:
    names_and_candles = csv.read_bytes().splitlines(keepends=True)[: 1 + 257]
    done = fed(b"".join(names_and_candles), "demo", "--file", "-", *SAID)
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "A worker calculates the market state of candles of AAAUSDT."
    assert lines[-2] == "All candles in the files have been processed.", done.stderr


def test_what_is_wrong_with_a_pipe_is_one_clear_line(csv: Path) -> None:
    cases: list[tuple[bytes, tuple[str, ...], bytes]] = [
        (csv.read_bytes(), (), b"say them with --symbol and --interval"),
        (b"", (), b"/dev/stdin has 0 prices"),
        (b"1\nx\n", (), b"/dev/stdin, line 2: 'x' is not a price"),
        (b"PK\x03\x04", (), b"cannot read /dev/stdin: File is not a zip file"),
        (b"\x1f\x8b", (), b"/dev/stdin, line 1: not a price file"),
    ]
    for content, options, says in cases:
        found = fed(content, "state", "-", *options)
        assert (found.returncode, len(found.stderr.splitlines())) == (2, 1), found.stderr
        assert says in found.stderr
    for command in (("replay", "--namespace", "none"), ("demo", "--file")):
        found = fed(b"", *command, "-")
        assert (found.returncode, found.stderr) == (2, b"marketstate: /dev/stdin is empty\n")
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *MARKETSTATE, "state", "-"],
        capture_output=True,
        env=environment(),
        check=False,
    )
    assert closed.stderr == b"marketstate: cannot read /dev/stdin: Bad file descriptor\n"


def test_a_recording_goes_through_a_pipe_into_a_replay_and_a_comparison(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    own = small(tmp_path)
    work_through(server.port, client, tmp_path, made_candles(SYMBOLS, 40), **own)
    here = own | {"redis_port": server.port}
    path = tmp_path / "candles.jsonl"
    assert run(server, tmp_path, "record", path)[0] == 0
    recorded = fed(b"", "record", "-", **here)
    assert (recorded.returncode, recorded.stdout) == (0, path.read_bytes())
    assert b"/dev/stdout: recorded 120 entries" in recorded.stderr
    options = ("--namespace", "piped", "--workers", "1")
    replayed = fed(gzip.compress(recorded.stdout), "replay", "-", *options, **here)
    assert replayed.returncode == 0, replayed.stderr
    assert sum(map(len, states_of(client, "piped").values())) == 96
    states = fed(b"", "record", "/dev/stdout", "--stream", "output", **here).stdout
    compared = fed(states, "verify", "--against", "-", "--namespace", "piped", **here)
    assert b"ok   against: 96 of 96 states are the same" in compared.stdout, compared.stdout
    page = tmp_path / "a.html"
    plotted = fed(states, "plot", "--from", "-", "--out", page, **here)
    assert (plotted.returncode, page.exists()) == (0, True), plotted.stderr


def test_candles_go_through_a_pipe_into_a_replay(
    server: EmbeddedRedis, client: redis.Redis, csv: Path
) -> None:
    options = ("--namespace", "a", "--max-backlog", "inf")
    found = fed(csv.read_bytes(), "replay", "-", *SAID, *options, redis_port=server.port)
    assert (found.returncode, client.xlen(stream_of("a"))) == (0, 300), found.stderr


def test_a_recording_to_a_reader_that_ends_early_or_a_full_disk_ends_quietly(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    feed(client, made_candles(SYMBOLS, 1_000))
    environ = environment(redis_port=server.port)
    command = [*MARKETSTATE, "record", "-"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
    ) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline().startswith(b'{"format"')
        recorder.stdout.close()
        assert recorder.stderr is not None
        said = recorder.stderr.read()
        assert (recorder.wait(PATIENCE_S), said) == (0, b"")
    with Path("/dev/full").open("wb") as full:
        found = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environ, check=False
        )
    assert found.returncode == 2
    assert b"cannot write /dev/stdout: No space left on device" in found.stderr
    resumed = fed(b"", "record", "-", "--resume", redis_port=server.port)
    assert (resumed.returncode, b"--resume continues a file" in resumed.stderr) == (2, True)


def test_a_recording_of_nothing_says_so_and_leaves_no_file_in_the_way(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl.gz"
    feed(client, made_candles(SYMBOLS, 2))
    for _ in range(2):
        code, log = run(server, tmp_path, "record", path, "--to", "5")
        assert (code, f"nothing was recorded, so {path} was removed" in log) == (0, True), log
        assert not path.exists()
    assert run(server, tmp_path, "record", path)[0] == 0
    code, log = run(server, tmp_path, "record", path, "--resume")
    assert (code, "recorded 0 entries" in log, "removed" in log) == (0, True, False), log
    assert len(list(read_recording(path))) == 6
    found = fed(b"", "record", "-", "--to", "5", redis_port=server.port)
    assert (found.returncode, found.stdout.count(b"\n")) == (0, 1)


def test_a_replay_of_nothing_starts_no_workers_and_says_so(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    feed(client, made_candles(SYMBOLS, 2))
    nothing = fed(b"", "record", "-", "--to", "5", redis_port=server.port).stdout
    client.delete(INPUT)
    path = tmp_path / "nothing.jsonl"
    path.write_bytes(nothing)
    options: Any = ("--namespace", "a", "--workers", "4")
    code, log = run(server, tmp_path, "replay", path, *options)
    assert (code, log) == (0, "0 entries to feed\nnothing was fed, and no worker was started\n")
    assert client.keys() == []
    path.write_bytes(nothing + b"{}\n")
    code, log = run(server, tmp_path, "replay", path, *options, "--skip-bad", "--clean")
    assert (code, "lines or entries left out: 1" in log) == (0, True), log


def test_a_replay_to_a_port_where_nobody_listens_ends_as_every_command_does(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    """Once it has begun, it waits: test_a_replay_survives_a_redis_outage."""
    folder = candle_folder(tmp_path, 4)
    for options in ((), ("--workers", "1"), ("--resume",)):
        command = ("replay", folder, "--namespace", "a", *options)
        code, log = run(server, tmp_path, *command, redis_port=1)
        assert (code, len(log.splitlines())) == (3, 1), log
        assert "does not answer" in log


def test_a_replay_waits_for_a_redis_that_refuses_it_for_now(
    server_binary: Path, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, 4)
    feeding = ("replay", str(folder), "--namespace", "a")
    with EmbeddedRedis(server_binary) as server, server.client() as client:
        client.config_set("maxclients", 1)
        with WorkerProcess(server.port, tmp_path, *feeding) as replay:
            replay.wait_for_log("max number of clients")
            client.config_set("maxclients", 100)
            assert replay.exit_code() == 0, replay.log
        assert client.xlen(stream_of("a")) == 12
