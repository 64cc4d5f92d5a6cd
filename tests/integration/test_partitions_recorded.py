"""Recordings of partitions: one file of all streams, fed into any number of partitions."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.schemas.partitions import partition_of
from marketstate.schemas.recording import RecordedEntry
from marketstate.worker.commands.record.recorder import Part
from marketstate.worker.commands.replay.feeders import Feeders
from marketstate.worker.commands.replay.sources import Item, packed
from marketstate.worker.files.recordings import read_recording
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import replay_names, settings_from
from marketstate.worker.stop import Stop
from tests.support.candles import made_candles
from tests.support.partitioned import feed_by_symbol
from tests.support.redis_versions import has_lag
from tests.support.replaying import run
from tests.support.small_workers import FILLED, small_worker, work_off
from tests.support.stepped_partitions import (
    PARTITIONS,
    SYMBOLS,
    partition_workers,
    published_by,
    settings_of_all,
    work_all_off,
)
from tests.support.worker_process import INPUT, WorkerProcess, feed, published, wait_until

pytestmark = pytest.mark.one_redis_version
CANDLES = made_candles(SYMBOLS, FILLED + 3)


@pytest.fixture
def recording(server: EmbeddedRedis, client: redis.Redis, tmp_path: Path) -> Path:
    feed_by_symbol(client, CANDLES, PARTITIONS)
    path = tmp_path / "all.jsonl.gz"
    code, log = run(server, tmp_path, "record", path, partitions=PARTITIONS)
    assert code == 0, log
    assert f"recorded {len(CANDLES)} entries of {INPUT}:{{p*}}; the last" in log
    return path


def by_symbol(client: redis.Redis, streams: list[str]) -> dict[str, list[int]]:
    """The close times in the streams."""
    found: dict[str, list[int]] = {}
    for stream in streams:
        entries: Any = client.xrange(stream)
        for _, fields in entries:
            candle = json.loads(fields[b"payload"])
            found.setdefault(candle["symbol"], []).append(candle["close_time"])
    return found


def fields_of(entry: RecordedEntry) -> dict[str, Any]:
    """The payload of a candle."""
    found: dict[str, Any] = json.loads(entry.fields[entry.fields.index(b"payload") + 1])
    return found


def test_one_recording_has_all_partitions_merged_by_time(recording: Path) -> None:
    entries = [entry for entry, _ in read_recording(recording)]
    assert [entry.order for entry in entries] == sorted(entry.order for entry in entries)
    symbols = [fields_of(entry)["symbol"] for entry in entries]
    assert [entry.partition for entry in entries] == [
        partition_of(symbol, PARTITIONS) for symbol in symbols
    ]
    header = json.loads(gzip.decompress(recording.read_bytes()).splitlines()[0])
    assert header == {
        "format": "marketstate-recording",
        "version": 2,
        "stream": INPUT,
        "partitions": PARTITIONS,
    }


def test_recording_goes_on_in_each_partition(
    server: EmbeddedRedis, client: redis.Redis, recording: Path, tmp_path: Path
) -> None:
    whole = made_candles(SYMBOLS, FILLED + 6)
    feed_by_symbol(client, whole[len(CANDLES) :], PARTITIONS)
    code, log = run(server, tmp_path, "record", recording, "--resume", partitions=PARTITIONS)
    assert code == 0, log
    assert "recorded 12 entries" in log
    assert len(list(read_recording(recording))) == len(whole)
    code, log = run(server, tmp_path, "record", recording, "--resume", partitions=3)
    assert code == 2, log
    assert f"is a recording of {INPUT} with 2 partitions, not of {INPUT} with 3" in log


@pytest.mark.parametrize("partitions", [None, 1, 2, 3])
def test_a_replay_into_any_partitions_publishes_the_same(
    server: EmbeddedRedis,
    client: redis.Redis,
    recording: Path,
    tmp_path: Path,
    partitions: int | None,
) -> None:
    """G2: the same bytes of each symbol, whatever the partitions were and are."""
    feed(client, CANDLES)
    work_off(small_worker(server, start="replay"))
    wanted = published(client)
    options = ("replay", recording, "--namespace", "again", "--partitions", partitions or 0)
    code, log = run(server, tmp_path, *map(str, options))
    assert code == 0, log
    names: dict[str, Any] = {**replay_names("again"), "start": "replay"}
    workers = (
        [small_worker(server, **names)]
        if partitions is None
        else partition_workers(server, partitions=partitions, **names)
    )
    assert by_symbol(client, [worker.keys.input for worker in workers]) == {
        symbol: [each.close_time for each in CANDLES if each.symbol == symbol] for symbol in SYMBOLS
    }
    work_all_off(workers)
    assert published_by(client, workers) == wanted


def test_a_replay_to_a_cluster_needs_no_other_number_than_its_own(
    server: EmbeddedRedis, recording: Path, tmp_path: Path
) -> None:
    words = ("replay", recording, "--namespace", "there", "--partitions", 2)
    code, log = run(server, tmp_path, *words, redis_url="redis+cluster://127.0.0.1:1")
    assert (code, "PARTITIONS must be set" in log) == (3, False), log


def test_a_replay_that_broke_off_in_some_partitions_goes_on_in_each(
    server: EmbeddedRedis, client: redis.Redis, recording: Path, tmp_path: Path
) -> None:
    """G3: every entry is fed once, though only one partition was fed before the end."""
    options = ("replay", recording, "--namespace", "again", "--partitions", "3")
    assert run(server, tmp_path, *map(str, options))[0] == 0
    names = replay_names("again")
    streams = [f"{names['input_stream']}:{{p{i:02d}}}" for i in range(3)]
    wanted = by_symbol(client, streams)
    fed = "quantum:marketstate-worker:replay-again:{{p{:02d}}}:fed"
    client.delete(streams[0], streams[1], fed.format(0), fed.format(1))
    code, log = run(server, tmp_path, *map(str, options), "--resume")
    assert code == 0, log
    assert by_symbol(client, streams) == wanted
    client.set(fed.format(0), "3:" + "01" * 16)
    code, log = run(server, tmp_path, *map(str, options), "--resume")
    assert code == 2, log
    assert "but they are not the first 3 of these files" in log
    code, log = run(server, tmp_path, "replay", "--clean", *options[2:])
    assert code == 0, log
    assert not client.keys("quantum:replay:*") + client.keys("*replay-again*")


def test_a_busy_partition_leaves_the_others_their_turn(client: redis.Redis) -> None:
    feed(client, CANDLES[:3])
    found = Part(settings_from({}), INPUT, None).entries(client, "-", "+")
    first = [next(found) for _ in range(3)]
    feed(client, CANDLES[3:6])
    assert (len(first), list(found)) == (3, [])


def test_new_entries_of_all_partitions_are_recorded_as_they_come(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    path = tmp_path / "live.jsonl"
    words = ("record", str(path), "--follow")
    with WorkerProcess(server.port, tmp_path, *words, partitions=PARTITIONS) as recorder:
        recorder.wait_for_log("there is no stream")
        feed_by_symbol(client, CANDLES[:8], PARTITIONS)
        wait_until(lambda: path.exists() and len(path.read_text().splitlines()) == 9, "8 entries")
        assert recorder.terminate() == 0, recorder.log
    assert [entry.partition for entry, _ in read_recording(path)].count(1) == 4


def test_workers_of_a_replay_serve_its_partitions(
    server: EmbeddedRedis, client: redis.Redis, recording: Path, tmp_path: Path
) -> None:
    options = ("--namespace", "again", "--partitions", 3, "--workers", 1, "--clean")
    code, log = run(server, tmp_path, "replay", recording, *options, shards=2)
    assert code == 0, log
    assert f"the group so far: applied {len(CANDLES)}, emitted" in log
    assert not client.keys("quantum:replay:*")


def test_a_replay_says_how_much_is_unfinished_in_the_partition_that_it_waits_for(
    server: EmbeddedRedis,
) -> None:
    settings = settings_of_all(partition_workers(server)[0])
    stop, told = Stop(), list[str]()

    def on_wait(unfinished: str) -> None:
        told.append(unfinished)
        stop.requested = True

    feeders = Feeders(settings, stop, on_wait, told.append)
    # The first partition gets more, but not so much that anybody looks at it.
    feeders.feed([Item(0, packed([b"*", b"a", b"b"]), int(i < 3)) for i in range(10)], 7)
    feeders.feed([Item(0, packed([b"*", b"a", b"b"]), 1) for _ in range(5)], 7)
    with server.client() as client:
        assert told == ["3" if has_lag(client) else "at least 3"]
