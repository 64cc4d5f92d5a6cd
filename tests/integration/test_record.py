"""`marketstate record`: from any stream to a file, and resuming after interruptions."""

import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.schemas.recording import RecordedEntry
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.recordings import read_recording
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.replaying import add_raw, run
from tests.support.worker_process import INPUT, WorkerProcess, wait_until

pytestmark = pytest.mark.one_redis_version


def add(client: redis.Redis, *numbers: int, stream: str = INPUT) -> None:
    for i in numbers:
        client.xadd(stream, {"number": i, "raw": b"\xff%d" % i}, id=f"{i}-0")


def ids_in(path: Path) -> list[str]:
    """The ids of the entries that can be read so far."""
    try:
        return [read.entry.id for read in read_recording(path, lambda _where, _what: None)]
    except FileUnusable:
        return []


def expected_ids(*numbers: int) -> list[str]:
    return [f"{i}-0" for i in numbers]


def test_every_field_is_recorded_in_its_order_and_nothing_in_redis_changes(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    fields = [b"b", b"\x00\xff", b"a", "é\n".encode(), b"b", b"again", b"\xfe", b""]
    add_raw(client, INPUT, "7-3", *fields)
    client.xgroup_create(INPUT, "marketstate", "0")
    before: Any = client.dump(INPUT), client.xinfo_groups(INPUT)
    path = tmp_path / "a.jsonl.gz"
    code, log = run(server, tmp_path, "record", path)
    assert (code, f"recorded 1 entries of {INPUT}; the last one is 7-3" in log) == (0, True), log
    assert [read.entry for read in read_recording(path)] == [RecordedEntry("7-3", fields)]
    assert (client.dump(INPUT), client.xinfo_groups(INPUT)) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--from", "3"), (3, 4, 5)),
        (("--to", "3-0"), (1, 2, 3)),
        (("--from", "1970-01-01T00:00:00.002", "--to", "1970-01-01T01:00:00.004+01:00"), (2, 3, 4)),
        (("--stream", "quantum:other"), (9,)),
        (("--stream", "output"), ()),
    ],
)
def test_a_range_of_ids_or_times_from_any_stream(
    options: tuple[str, ...],
    expected: tuple[int, ...],
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
) -> None:
    add(client, 1, 2, 3, 4, 5)
    add(client, 9, stream="quantum:other")
    code, log = run(server, tmp_path, "record", tmp_path / "a.jsonl", *options)
    assert code == 0, log
    assert ids_in(tmp_path / "a.jsonl") == expected_ids(*expected)


def test_following_ends_on_a_signal_and_can_be_resumed_after_a_kill(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl.gz"
    add(client, 1, 2)
    with WorkerProcess(server.port, tmp_path, "record", str(path), "--follow") as recorder:
        wait_until(lambda: len(ids_in(path)) == 2, "existing entries are recorded")
        add(client, 3)
        wait_until(lambda: len(ids_in(path)) == 3, "new entries are recorded")
        recorder.process.send_signal(signal.SIGINT)
        assert recorder.exit_code() == 0, recorder.log
    assert [read.entry.id for read in read_recording(path)] == expected_ids(1, 2, 3)
    add(client, 4)
    resumed = ("record", str(path), "--follow", "--resume")
    with WorkerProcess(server.port, tmp_path, *resumed) as recorder:
        wait_until(lambda: len(ids_in(path)) == 4, "it continues after the last entry")
        recorder.kill()
    with pytest.raises(FileUnusable, match="the file is cut off"):
        list(read_recording(path))
    add(client, 5)
    code, log = run(server, tmp_path, "record", path, "--resume")
    assert code == 0, log
    assert [read.entry.id for read in read_recording(path)] == expected_ids(1, 2, 3, 4, 5)


def test_it_says_when_entries_may_have_been_trimmed_before_they_were_recorded(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5"""
    path = tmp_path / "a.jsonl.gz"
    add(client, 1, 2)
    assert run(server, tmp_path, "record", path)[0] == 0
    add(client, 3, 4, 5)
    client.xtrim(INPUT, minid="4", approximate=False)
    code, log = run(server, tmp_path, "record", path, "--resume")
    assert (code, "between 2-0 and 4-0 may have been trimmed" in log) == (0, True), log
    assert ids_in(path) == expected_ids(1, 2, 4, 5)


def test_following_survives_a_redis_outage(any_server_binary: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with EmbeddedRedis(any_server_binary, "--appendonly", "yes") as server:
        with server.client() as client:
            add(client, 1)
        with WorkerProcess(server.port, tmp_path, "record", str(path), "--follow") as recorder:
            wait_until(lambda: len(ids_in(path)) == 1, "existing entries are recorded")
            server.stop()
            recorder.wait_for_log("lost Redis")
            server.start()
            with server.client() as client:
                add(client, 2)
            wait_until(lambda: len(ids_in(path)) == 2, "it continues")
            assert recorder.terminate() == 0, recorder.log


def test_mistakes_are_one_clear_line(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    add(client, 1)
    path = tmp_path / "a.jsonl"
    assert run(server, tmp_path, "record", path)[0] == 0
    code, log = run(server, tmp_path, "record", path)
    assert (code, len(log.splitlines()), "continue it with --resume" in log) == (2, 1, True), log
    code, log = run(server, tmp_path, "record", tmp_path / "no" / "b.jsonl")
    assert (code, "No such file or directory" in log) == (2, True), log
    code, log = run(server, tmp_path, "record", tmp_path / "b.jsonl", redis_port=1)
    assert (code, (tmp_path / "b.jsonl").exists()) == (3, False), log
    client.set("text", "")
    refused: dict[tuple[str, ...], tuple[int, str]] = {
        ("--from", "noon"): (2, "'noon' must be an entry id"),
        ("--from", str(2**64)): (2, f"'{2**64}' must be an entry id"),
        ("--from", "2026-11-25", "--to", "2026-11-24T15:40"): (
            2,
            "--from 1795564800000 (2026-11-25 00:00:00 UTC) is after "
            "--to 1795534800000 (2026-11-24 15:40:00 UTC)",
        ),
        ("--stream", "nonsense"): (3, "there is no stream nonsense; --follow waits for one"),
        ("--stream", "text"): (3, "the key text holds a string; only streams can be recorded"),
    }
    for options, (expected, says) in refused.items():
        code, log = run(server, tmp_path, "record", tmp_path / "b.jsonl", *options)
        assert (code, says in log) == (expected, True), log
        assert not (tmp_path / "b.jsonl").exists()


def test_it_says_when_the_beginning_had_been_trimmed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5; Redis 6.2 does not report it."""
    add(client, 1, 2, 3, 4)
    client.xtrim(INPUT, minid="3", approximate=False)
    info: Any = client.xinfo_stream(INPUT)
    _, log = run(server, tmp_path, "record", tmp_path / "a.jsonl")
    expected = "starts at 3-0: 2 earlier entries have been trimmed"
    assert (expected in log) == ("entries-added" in info), log
    _, log = run(server, tmp_path, "record", tmp_path / "b.jsonl", "--from", "3")
    assert expected not in log
