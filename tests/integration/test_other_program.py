"""Another program writes our hashes and entries, such as the publisher before us: it is noticed."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from marketstate.schemas.market_state import hash_fields, stream_fields
from marketstate.worker.commands.verify.command import verify
from marketstate.worker.engine.preflight import preflight
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.store.newest import LOOKED_AT
from tests.support.records import make_record
from tests.support.small_workers import FILLED, SYMBOLS, candles_of, small_worker, work_off
from tests.support.steps import SteppedWorker
from tests.support.worker_process import OUTPUT, WorkerProcess, feed

pytestmark = pytest.mark.one_redis_version

STATE = "quantum:marketstate:BTCUSDT"
OF_HASH = "1 of 2 hashes looked at are not as a worker leaves them, such as "
TO_DO = "; stop that program, or give it other keys"


@pytest.fixture
def worker(server: EmbeddedRedis, client: redis.Redis) -> SteppedWorker:
    """One that has published states of both symbols."""
    worker = small_worker(server)
    feed(client, candles_of(SYMBOLS, 0, FILLED - 1))
    work_off(worker)
    return worker


def overwrite_hash(client: redis.Redis, symbol: str = "BTCUSDT") -> None:
    fields: Any = msgspec.structs.asdict(hash_fields(make_record(symbol, 3, sigma=0.5)))
    client.hset(f"quantum:marketstate:{symbol}", mapping=fields)


def add_entry(client: redis.Redis, symbol: str = "BTCUSDT", **changes: Any) -> str:
    fields: Any = msgspec.structs.asdict(stream_fields(make_record(symbol, 3), ""))
    del fields["record"]
    return str(client.xadd(OUTPUT, fields, **changes).decode())  # type: ignore[union-attr]


def checked(worker: SteppedWorker) -> list[str]:
    found = [str(each) for each in preflight(worker.settings)]
    return [text for text in found if text.startswith("warn other program: ")]


def verified(worker: SteppedWorker, max_state_age_s: float = 1e9) -> list[str]:
    found = [str(each) for each in verify(worker.settings, max_state_age_s=max_state_age_s)]
    return [text for text in found if " other program: " in text]


def status_of(server: EmbeddedRedis, folder: Path, *options: str) -> str:
    with WorkerProcess(server.port, folder, "status", *options) as process:
        assert process.exit_code() == 0
        return process.log


def test_nothing_is_said_of_what_workers_write(
    worker: SteppedWorker, server: EmbeddedRedis, tmp_path: Path
) -> None:
    assert (checked(worker), verified(worker)) == ([], [])
    assert 'other_programs":[]' in status_of(server, tmp_path, "--json")


def test_a_hash_that_another_program_has_overwritten_is_named(
    worker: SteppedWorker, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    overwrite_hash(client)
    (found,) = checked(worker)
    assert f"{OF_HASH}{STATE}: sigma of its hash is b'0.50000000', but its record says" in found
    assert found.endswith(f"another program has written to it{TO_DO}")
    assert found.removeprefix("warn other program: ") in status_of(server, tmp_path)
    findings = list(verify(worker.settings, max_state_age_s=1e9))
    (of_btc,) = [each for each in findings if each.subject == "BTCUSDT"]
    assert of_btc.verdict == "FAIL"
    assert of_btc.text.endswith("another program has written to it")
    assert "FAIL" in [each.verdict for each in findings if each.subject == "complete"]
    feed(client, candles_of(SYMBOLS, FILLED, FILLED))
    work_off(worker)
    assert checked(worker) == []


def test_a_hash_without_a_record_is_named(worker: SteppedWorker, client: redis.Redis) -> None:
    """Once our own has expired, the other program's looks like a hash of ours."""
    client.delete(worker.keys.record("BTCUSDT"), STATE)
    overwrite_hash(client)
    (found,) = checked(worker)
    assert f"{OF_HASH}{STATE}: its hash has no record: another program wrote it{TO_DO}" in found


def test_fields_that_another_program_adds_to_a_hash_are_named(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    client.hset(STATE, "note", "mine")
    (found,) = checked(worker)
    assert f"{OF_HASH}{STATE}: it has the field note, which the next state removes{TO_DO}" in found
    assert verified(worker) == [found]


def test_entries_without_a_record_are_named_with_the_last_one(
    worker: SteppedWorker, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    add_entry(client)
    client.xadd(OUTPUT, {"symbol": "BTCUSDT", "record": "{"})
    last = add_entry(client, "ETHUSDT")
    length = client.xlen(OUTPUT)
    (found,) = checked(worker)
    assert found == (
        f"warn other program: 3 of the last {length} entries of {OUTPUT} have no record that can "
        f"be read, such as {last} (ETHUSDT): another program writes to this stream{TO_DO}"
    )
    assert found.removeprefix("warn other program: ") in status_of(server, tmp_path)
    (seen,) = verified(worker)
    assert seen.startswith(f"FAIL{found.removeprefix('warn')} (the last ")
    (of_stream,) = [each for each in verify(worker.settings) if each.subject == "output stream"]
    assert (of_stream.verdict, of_stream.text.endswith("another program wrote it")) == (
        "FAIL",
        True,
    )


def test_entries_of_a_program_that_has_stopped_are_a_warning_until_they_are_far_behind(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    newest: Any = client.xinfo_stream(OUTPUT)["last-generated-id"]
    add_entry(client, id=f"{newest.decode().partition('-')[0]}-999")
    (seen,) = verified(worker, max_state_age_s=0)
    assert seen.startswith("warn other program: 1 of the last ")
    for number in range(LOOKED_AT // len(SYMBOLS)):
        feed(client, candles_of(SYMBOLS, FILLED + number, FILLED + number))
        work_off(worker)
    assert (checked(worker), verified(worker)) == ([], [])


def test_symbols_that_only_the_other_program_publishes_are_looked_at_too(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    add_entry(client, "XRPUSDT")
    overwrite_hash(client, "XRPUSDT")
    found = checked(worker)
    assert len(found) == 2
    assert "quantum:marketstate:XRPUSDT: its hash has no record: another program" in found[1]


def test_names_that_another_program_chose_reach_no_terminal_as_they_are(
    worker: SteppedWorker, client: redis.Redis
) -> None:
    add_entry(client, "\x1b[2J")
    client.hset("quantum:marketstate:\x1b[2J", "sigma", "1")
    assert all("\x1b" not in text for text in checked(worker))
    assert len(checked(worker)) == 2


def test_a_worker_says_it_at_its_start(
    worker: SteppedWorker, server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worker.leave()
    client.flushall()
    entry_id = add_entry(client)
    with WorkerProcess(server.port, tmp_path) as process:
        process.wait_for_log("holding 16 of 16 shards")
        assert f"1 of the last 1 entries of {OUTPUT} have no record" in process.log
        assert entry_id in process.log
