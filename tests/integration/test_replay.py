"""`marketstate replay`: it gives the same states again, and touches nothing live."""

import gzip
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.market_state import decode_market_state, encode_record
from marketstate.worker.files.recordings import read_recording
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from tests.support.candles import made_candles
from tests.support.replaying import (
    SYMBOLS,
    add_raw,
    candle_folder,
    dumps,
    run,
    small,
    states_of,
    stream_of,
)
from tests.support.worker_process import (
    INPUT,
    OUTPUT,
    WorkerProcess,
    counters,
    feed,
    published,
    wait_until,
    wait_until_finished,
    work_through,
)

pytestmark = pytest.mark.one_redis_version
COUNT = 40
FILLING = 8


def live_run(server: EmbeddedRedis, client: redis.Redis, folder: Path) -> None:
    """Run a live worker that processes COUNT candles of each symbol."""
    work_through(server.port, client, folder, made_candles(SYMBOLS, COUNT), **small(folder))


def recorded(server: EmbeddedRedis, folder: Path, name: str, *options: str) -> Path:
    path = folder / f"{name}.jsonl.gz"
    code, log = run(server, folder, "record", path, *options)
    assert code == 0, log
    return path


def test_a_replay_publishes_what_live_workers_did_and_leaves_no_trace(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: with one worker or four, at full speed or paced; every live key stays unchanged."""
    live_run(server, client, tmp_path)
    states = recorded(server, tmp_path, "states", "--stream", "output")
    candles = recorded(server, tmp_path, "candles")
    before = dumps(client)
    runs: dict[str, tuple[str, ...]] = {
        "one": ("--workers", "1"),
        "four": ("--workers", "4"),
        # Ids are at most a millisecond apart, so even a tenth of real time takes only a moment.
        "paced": ("--workers", "2", "--speed", "0.1"),
    }
    for name, options in runs.items():
        code, log = run(server, tmp_path, "replay", candles, "--namespace", name, *options)
        assert (code, f"applied {COUNT * len(SYMBOLS)}, emitted " in log) == (0, True), log
        compared = ("verify", "--against", states, "--namespace", name)
        code, log = run(server, tmp_path, *compared)
        assert code == 0, log
        same = (COUNT - FILLING) * len(SYMBOLS)
        assert f"ok   against: {same} of {same} states are the same" in log
        assert "filling" not in log
        code, log = run(server, tmp_path, "verify", "--namespace", name)
        assert (code, "skip workers: none, and the replay is finished" in log) == (0, True), log
        bounded = ("verify", "--namespace", name, "--max-state-age", "60")
        assert run(server, tmp_path, *bounded)[0] == 4
    assert {key: value for key, value in dumps(client).items() if key in before} == before
    for name in runs:
        code, log = run(server, tmp_path, "replay", "--namespace", name, "--clean")
        assert code == 0, log
    assert dumps(client) == before


def test_candle_files_give_the_same_states_as_a_recording_of_their_replay(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, COUNT)
    code, log = run(server, tmp_path, "replay", folder, "--namespace", "csv", "--workers", "1")
    assert code == 0, log
    path = recorded(server, tmp_path, "candles", "--namespace", "csv")
    options = ("--namespace", "again", "--workers", "1", "--clean")
    expected = states_of(client, "csv")
    code, log = run(server, tmp_path, "replay", path, *options[:-1])
    assert (code, states_of(client, "again")) == (0, expected), log
    assert len(expected[b"AAAUSDT"]) == COUNT - FILLING


def test_recorded_replayed_and_recorded_again_entries_are_equal(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """Except for their ids; with --keep-ids, those are equal too."""
    add_raw(client, INPUT, "7-3", "a", b"\xff\x00", "a", "", "b", "é\n")
    feed(client, made_candles(SYMBOLS, 5))
    path = recorded(server, tmp_path, "first")
    entries = [read.entry for read in read_recording(path)]
    feeding = ("replay", path, "--max-backlog", "inf")
    for name, options in {"new": (), "kept": ("--keep-ids",)}.items():
        code, log = run(server, tmp_path, *feeding, "--namespace", name, *options)
        assert code == 0, log
        again = recorded(server, tmp_path, name, "--namespace", name)
        found = [read.entry for read in read_recording(again)]
        assert [entry.fields for entry in found] == [entry.fields for entry in entries]
        assert (entries == found) == (name == "kept")
    twice = ("replay", path, path, "--namespace", "twice", "--keep-ids")
    code, log = run(server, tmp_path, *twice)
    assert (code, "line 2: the entry 7-3 is in two files" in log) == (2, True), log
    code, log = run(server, tmp_path, *feeding, "--live", "--keep-ids")
    assert (code, f"{INPUT} has newer entries than this recording" in log) == (2, True), log


def test_an_update_without_a_flag_is_an_update_again_when_it_is_replayed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: it closed after it was written, which its new id would hide."""
    with WorkerProcess(server.port, tmp_path, start="replay", **small(tmp_path)) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        for number, one in enumerate(made_candles(("AAAUSDT",), 20)):
            for ahead_ms, more in ((30_000, 1), (10_000, 2), (0, 0)):
                entry_id = f"{one.close_time - ahead_ms}-{number}"
                values = ("close", str(one.close + more), "close_time", str(one.close_time))
                add_raw(client, INPUT, entry_id, "symbol", one.symbol, *values)
        wait_until_finished(client, 60)
        assert worker.terminate() == 0
    assert counters(client) == {"unclosed": 40, "applied": 20, "emitted": 20 - FILLING}
    assert worker.log.count("without a flag") == 1
    path = recorded(server, tmp_path, "updates")
    again = ("--namespace", "again", "--workers", "1")
    code, log = run(server, tmp_path, "replay", path, *again)
    assert (code, "applied 20, emitted 12, unclosed 40" in log) == (0, True), log
    expected = [fields[b"record"] for fields in published(client)["AAAUSDT"]]
    assert states_of(client, "again") == {b"AAAUSDT": expected}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_replay_can_be_resumed_and_gives_the_same_states(
    end: signal.Signals, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G2: interrupted by a signal between batches, or killed at any moment."""
    folder = candle_folder(tmp_path, 400)
    options = ("--workers", "1", "--max-backlog", "50")
    code, log = run(server, tmp_path, "replay", folder, "--namespace", "whole", "--workers", "1")
    assert code == 0, log
    broken = ("replay", str(folder), "--namespace", "broken", *options)
    with WorkerProcess(server.port, tmp_path, *broken, **small(tmp_path)) as replay:
        wait_until(lambda: client.xlen(stream_of("broken", output=True)) > 100, "it is on its way")
        replay.process.send_signal(end)
        expected = 130 if end is signal.SIGINT else -signal.SIGKILL
        assert replay.exit_code() == expected, replay.log
    assert client.xlen(stream_of("broken")) < 1_200
    members = settings_from({}, namespace="broken").keys.members
    wait_until(lambda: client.hlen(members) == 0, "its worker has ended with it")
    assert run(server, tmp_path, *broken, "--resume")[0] == 0
    assert states_of(client, "whole") == states_of(client, "broken")
    assert client.xlen(stream_of("broken")) == 1_200


def test_the_group_is_never_further_behind_than_allowed(
    server_binary: Path, tmp_path: Path
) -> None:
    """G8, also on a Redis without `lag`. Without a group, everything fed counts as backlog."""
    folder = candle_folder(tmp_path, 20)
    feeding = ("replay", str(folder), "--namespace", "a", "--max-backlog", "40")
    own = small(tmp_path) | {"replay_namespace": "a", "max_pending": 5}
    with (
        EmbeddedRedis(server_binary) as server,
        server.client() as client,
        WorkerProcess(server.port, tmp_path, *feeding, **small(tmp_path)) as replay,
    ):
        wait_until(lambda: client.xlen(stream_of("a")) == 40, "as much is fed as allowed")
        assert "MARKETSTATE_REPLAY_NAMESPACE=a marketstate worker" in replay.log
        with WorkerProcess(server.port, tmp_path, **own) as worker:
            assert replay.exit_code() == 0, replay.log
            counters = "quantum:marketstate-worker:replay-a:counters"
            wait_until(lambda: client.hget(counters, "applied") == b"60", "all is applied")
            assert client.xlen(stream_of("a", output=True)) == (20 - FILLING) * len(SYMBOLS)
            assert worker.terminate() == 0


def test_a_signal_ends_a_long_gap(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, 4)
    real_time = ("replay", str(folder), "--namespace", "a", "--speed", "1")
    with WorkerProcess(server.port, tmp_path, *real_time) as replay:
        wait_until(lambda: client.xlen(stream_of("a")) == 3, "the first minute is fed")
        replay.process.send_signal(signal.SIGINT)
        assert replay.exit_code() == 130, replay.log
        assert "stopped by a signal; --resume continues from here" in replay.log
    assert client.xlen(stream_of("a")) == 3


def test_a_replay_survives_a_redis_outage(any_server_binary: Path, tmp_path: Path) -> None:
    """G5: entries that were being fed when the connection broke are neither lost nor repeated."""
    folder = candle_folder(tmp_path, 4)
    feeding = ("replay", str(folder), "--namespace", "a", "--speed", "100")
    with EmbeddedRedis(any_server_binary, "--appendonly", "yes") as server:
        with WorkerProcess(server.port, tmp_path, *feeding) as replay:
            with server.client() as client:
                wait_until(lambda: client.xlen(stream_of("a")) == 3, "the first minute is fed")
            server.stop()
            replay.wait_for_log("lost Redis at")
            server.start()
            assert replay.exit_code() == 0, replay.log
            assert "Redis is back after" in replay.log
            assert replay.log.count("Ctrl-C ends this, and --resume continues from here") == 1
        with server.client() as client:
            assert client.xlen(stream_of("a")) == 12


def test_an_id_that_no_stream_can_have_is_named_with_its_line_before_anything_is_fed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5: with --skip-bad it is left out, and the replay can be resumed."""
    feed(client, made_candles(SYMBOLS[:1], 5))
    path = recorded(server, tmp_path, "kept")
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"".join(lines) + lines[-1].replace(b'"id":"', b'"id":"99999999'))
    feeding = ("replay", bad, "--namespace", "a", "--keep-ids", "--max-backlog", "inf")
    refused: list[tuple[str, ...]] = [(), ("--resume",)]
    for options in refused:
        code, log = run(server, tmp_path, *feeding, *options)
        assert (code, client.exists(stream_of("a"))) == (2, 0), log
        assert f"{bad}, line 7: not an entry: no stream can have the id '99999999" in log
    for options in refused:
        code, log = run(server, tmp_path, *feeding, "--skip-bad", *options)
        assert (code, client.xlen(stream_of("a"))) == (0, 5), log


def test_a_worker_that_fails_ends_the_replay(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, 4)
    client.set("quantum:replay:a:stream:marketstate", "in the way")
    code, log = run(server, tmp_path, "replay", folder, "--namespace", "a", "--workers", "1")
    assert (code, "the worker ended with exit code 3" in log) == (1, True), log
    assert "quantum:replay:a:stream:marketstate holds a string" in log
    assert "interrupted after 12 of 12 entries" in log


def test_a_replay_can_only_be_resumed_with_the_same_files(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, 5)
    feeding = ("--namespace", "a", "--max-backlog", "inf")
    assert run(server, tmp_path, "replay", folder, *feeding)[0] == 0
    code, log = run(server, tmp_path, "replay", folder, *feeding)
    assert (code, "'a' contains an earlier replay; continue" in log) == (2, True), log
    code, log = run(server, tmp_path, "replay", folder, *feeding, "--resume")
    assert (code, "0 of 15 entries fed" in log) == (0, True), log
    one = next(folder.iterdir())
    code, log = run(server, tmp_path, "replay", one, *feeding, "--resume")
    assert (code, "not the first 15 of these files" in log) == (2, True), log
    assert client.xlen(stream_of("a")) == 15


@pytest.mark.parametrize("found", ["abc", b"\xff", "", "15", "a list"])
def test_a_position_that_no_replay_has_written_is_named_with_its_repair(
    found: str | bytes, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, 5)
    key = settings_from({}, namespace="a").keys.fed
    if found == "a list":
        client.rpush(key, "x")
    else:
        client.set(key, found)
    code, log = run(server, tmp_path, "replay", folder, "--namespace", "a", "--resume")
    shown = "\\\\xff" if isinstance(found, bytes) else found
    says = f"{key} holds '{shown}', which is not how far a replay came; remove the replay with"
    assert (code, says in log) == (2, True), log


def test_nothing_is_fed_if_the_files_have_bad_lines(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """G5: with --skip-bad the rest is fed, and the bad lines are counted."""
    folder = candle_folder(tmp_path, 5)
    path = sorted(folder.iterdir())[1]
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*rows[:3], "some text\n", rows[4]]))
    feeding = ("replay", folder, "--namespace", "a", "--max-backlog", "inf")
    code, log = run(server, tmp_path, *feeding)
    assert (code, f"{path}, line 4: found 1 columns, expected 12" in log) == (2, True), log
    assert client.exists(stream_of("a")) == 0
    code, log = run(server, tmp_path, *feeding, "--skip-bad")
    assert (code, client.xlen(stream_of("a"))) == (0, 14), log
    assert "lines or entries left out: 1\n" in log
    assert "candles missing: 1; gaps: 1\n" in log
    assert f"{path}, line 5: 1 candle of BBBUSDT missing between close_time" in log


@pytest.mark.parametrize("record", [{"record": "{}"}, {}], ids=["ours", "another program's"])
def test_a_recording_of_states_is_not_fed(
    record: dict[str, str], server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """As candles, all its entries would become dead letters."""
    fields: Any = {"symbol": "A", "sigma": "0.1", "regime": "chop"} | record
    client.xadd(OUTPUT, fields)
    path = tmp_path / "states.jsonl"
    assert run(server, tmp_path, "record", path, "--stream", "output")[0] == 0
    code, log = run(server, tmp_path, "replay", path, "--namespace", "a")
    assert (code, f"{path}, line 2 is a published state" in log) == (2, True), log
    assert client.exists(stream_of("a")) == 0


def test_the_live_stream_is_only_fed_on_request(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    folder = candle_folder(tmp_path, 5)
    refused: dict[tuple[str, ...], str] = {
        (): "give either --namespace NAME",
        ("--live", "--namespace", "a"): "give either --namespace NAME",
        ("--live", "--clean"): "need --namespace",
        ("--live", "--workers", "1"): "need --namespace",
        ("--namespace", "a*"): "'a*' must be 1 to 64 letters",
        ("--namespace", "a", "--keep-ids"): "candle files have no entry ids",
    }
    code, log = run(server, tmp_path, "replay", "--namespace", "a", "--clean")
    assert (code, "the namespace a has no keys" in log) == (2, True), log
    for options, says in refused.items():
        code, log = run(server, tmp_path, "replay", folder, *options)
        assert (code, says in log) == (2, True), log
    assert client.keys() == []
    code, log = run(server, tmp_path, "replay", folder, "--live")
    assert (code, client.xlen(INPUT)) == (0, 15), log
    assert {*client.keys()} == {INPUT.encode(), b"quantum:marketstate-worker:marketstate:fed"}


def test_a_namespace_that_is_in_use_or_belongs_to_another_group_is_not_removed(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    clean = ("replay", "--namespace", "a", "--clean")
    settings = small(tmp_path) | {"replay_namespace": "a", "worker_id": "busy"}
    with WorkerProcess(server.port, tmp_path, **settings) as worker:
        worker.wait_for_log("holding 16 of 16 shards")
        before = {*client.keys()}
        code, log = run(server, tmp_path, *clean)
        assert (code, "workers busy still run for the replay 'a'" in log) == (3, True), log
        assert before <= {*client.keys()}
        assert worker.terminate() == 0
    assert (run(server, tmp_path, *clean)[0], client.keys()) == (0, [])
    client.hset("quantum:marketstate-worker:replay-a:meta", "input_stream", "quantum:other")
    code, log = run(server, tmp_path, *clean)
    assert (code, "belongs to a group that reads quantum:other" in log) == (2, True), log
    assert client.dbsize() == 1


def test_verify_shows_the_first_difference_from_a_recording(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    live_run(server, client, tmp_path)
    states = recorded(server, tmp_path, "states", "--stream", "output")
    compare = ("verify", "--against", states)
    code, log = run(server, tmp_path, *compare)
    assert (code, "ok   against: 96 of 96 states are the same" in log) == (0, True), log
    entries: Any = client.xrange(OUTPUT)
    late: list[Any] = [fields for _, fields in entries[50:]]
    client.delete(OUTPUT)
    for _, fields in entries[:50]:
        client.xadd(OUTPUT, fields)
    state = decode_market_state(late[0])
    other = encode_record(msgspec.structs.replace(state, mu=0.5))
    changed = late[0] | {b"record": other.encode()}
    for fields in (changed, *late[2:]):
        client.xadd(OUTPUT, fields)
    code, log = run(server, tmp_path, *compare)
    symbol = late[0][b"symbol"].decode()
    assert (code, f"FAIL {symbol}: at the close " in log) == (4, True), log
    difference = f"mu is recorded as {state.mu!r}, but {OUTPUT} has 0.5"
    assert f"{difference} ({states}, line 52; entry " in log, log
    assert "FAIL against: 94 of 96 states are the same" in log, log
    code, log = run(server, tmp_path, *compare, symbols="AAAUSDT,NOUSDT")
    assert "of 32 states" in log, log


def test_entries_of_another_program_are_left_out_of_the_comparison_and_told(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    live_run(server, client, tmp_path)
    states = recorded(server, tmp_path, "states", "--stream", "output")
    others: list[Any] = [{"symbol": "AAAUSDT", "regime": "chop"}, {"record": "{"}]
    ids: list[Any] = [client.xadd(OUTPUT, fields) for fields in others]
    first, last = (entry_id.decode() for entry_id in ids)
    same, told = "ok   against: 96 of 96 states are the same", "have no record that can be read"
    code, log = run(server, tmp_path, "verify", "--against", states)
    assert (code, same in log) == (4, True), log
    assert f"FAIL against: {OUTPUT}: 2 entries {told}, such as {last}: another program" in log
    states = recorded(server, tmp_path, "with-others", "--stream", "output")
    client.xdel(OUTPUT, first, last)
    code, log = run(server, tmp_path, "verify", "--against", states)
    assert (code, same in log) == (0, True), log
    assert f"warn against: 2 entries {told}, such as {states}, line 99: another program" in log
    candles = recorded(server, tmp_path, "candles")
    code, log = run(server, tmp_path, "verify", "--against", candles)
    assert (code, f"{candles} has no states, but " in log) == (2, True), log
    assert "record states with --stream output" in log


def test_states_of_a_filling_window_differ_only_in_the_buffer_size(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """A replay of only the later candles starts with fewer closes than the live worker had."""
    live_run(server, client, tmp_path)
    states = recorded(server, tmp_path, "states", "--stream", "output")
    entries: Any = client.xrange(INPUT)
    since = entries[len(SYMBOLS) * 20][0].decode()
    candles = recorded(server, tmp_path, "candles", "--from", since)
    options = ("--namespace", "late", "--workers", "1")
    code, log = run(server, tmp_path, "replay", candles, *options)
    assert code == 0, log
    code, log = run(server, tmp_path, "verify", "--against", states, "--namespace", "late")
    assert (code, "36 of 36 states are the same" in log) == (0, True), log
    assert "for 9 of them one window was still filling" in log, log
    assert "skip against: 60 recorded states are earlier and 0 are later than what" in log, log
