"""Commands with another number of partitions than the group has: none of them shows, removes or
copies a part of it as if it were all.
"""

from pathlib import Path

import pytest
import redis

from marketstate.worker.engine.group import refuse_another_number
from marketstate.worker.errors import WrongKeyType
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.partitioned import feed_by_symbol, groups
from tests.support.replaying import dumps, run
from tests.support.small_workers import FILLED, small_worker
from tests.support.stepped_partitions import (
    PARTITIONS,
    SYMBOLS,
    partition_workers,
    work_all_off,
)
from tests.support.worker_process import INPUT

pytestmark = pytest.mark.one_redis_version
REFUSED = f"PARTITIONS is %s, but the group 'marketstate' was created with {PARTITIONS}; set it to"
ELSEWHERE = f"it is there with {PARTITIONS} partitions: set MARKETSTATE_PARTITIONS={PARTITIONS}"


@pytest.fixture(autouse=True)
def group(server: EmbeddedRedis, client: redis.Redis) -> None:
    """It has finished everything, and no worker is live."""
    workers = partition_workers(server)
    feed_by_symbol(client, made_candles(SYMBOLS, FILLED), PARTITIONS)
    work_all_off(workers)
    client.delete(*(worker.keys.members for worker in workers))


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--json", "--max-lag", "1"),
        ("purge", "--outputs", "--yes"),
        ("record", "part.jsonl"),
        ("describe", "--stream"),
    ],
    ids=" ".join,
)
def test_another_number_is_refused(
    server: EmbeddedRedis,
    client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    words: tuple[str, ...],
    number: int,
) -> None:
    before = dumps(client)
    monkeypatch.chdir(tmp_path)
    code, said = run(server, tmp_path, *words, partitions=number)
    assert (code, REFUSED % number in said) == (2, True), said
    assert dumps(client) == before
    assert not (tmp_path / "part.jsonl").exists()


def test_a_number_under_a_key_of_another_type_is_no_reason_not_to_record(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """What needs the group names that key."""
    for group in ("marketstate", "replay-again"):
        client.delete(f"quantum:marketstate-worker:{group}:{{p00}}:meta")
        client.set(f"quantum:marketstate-worker:{group}:{{p00}}:meta", "x")
    path = tmp_path / "all.jsonl"
    assert run(server, tmp_path, "record", path, partitions=PARTITIONS)[0] == 0
    with pytest.raises(WrongKeyType, match=r"\{p00\}:meta holds a string"):
        refuse_another_number(client, groups(PARTITIONS)[0])  # as a worker does
    words = ("replay", path, "--namespace", "again")
    code, said = run(server, tmp_path, *words, partitions=PARTITIONS)
    assert (code, "{p00}:meta holds a string, but the worker needs a hash" in said) == (3, True), (
        said
    )


def test_states_are_not_compared_with_those_of_another_number(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    path = tmp_path / "states.jsonl"
    run(server, tmp_path, "record", path, "--stream", "output", partitions=PARTITIONS)
    compared = ("verify", "--against", path)
    assert run(server, tmp_path, *compared, partitions=PARTITIONS)[0] == 0
    code, said = run(server, tmp_path, *compared, partitions=1)
    assert (code, REFUSED % 1 in said, "only recorded" in said) == (2, True, False), said


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("purge", 2)])
def test_without_a_number_the_error_names_it(
    server: EmbeddedRedis, tmp_path: Path, command: str, code: int
) -> None:
    assert run(server, tmp_path, command)[0] == code
    assert ELSEWHERE in run(server, tmp_path, command)[1]


def test_with_a_number_that_is_not_wanted_the_error_says_so(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    client.flushall()
    small_worker(server)
    code, said = run(server, tmp_path, "status", partitions=3)
    assert (code, f"{INPUT}:{{p00}} has no group" in said) == (3, True), said
    assert "it is there without partitions: do not set MARKETSTATE_PARTITIONS" in said


@pytest.fixture
def recording(server: EmbeddedRedis, tmp_path: Path) -> Path:
    path = tmp_path / "all.jsonl"
    assert run(server, tmp_path, "record", path, partitions=PARTITIONS)[0] == 0
    return path


def test_a_replay_is_fed_and_removed_with_the_number_that_it_has(
    server: EmbeddedRedis, client: redis.Redis, recording: Path, tmp_path: Path
) -> None:
    inside = ("--namespace", "again", "--partitions")
    run(server, tmp_path, "replay", recording, *inside, "2", "--workers", "1")
    before = dumps(client)
    for more in (("--clean",), (recording, "--resume")):
        code, said = run(server, tmp_path, "replay", *inside, "1", *more)
        assert (code, "'replay-again' was created with 2" in said) == (2, True), said
    code, said = run(server, tmp_path, "replay", *inside, "0", "--clean")
    assert (code, "it is there with 2 partitions: set MARKETSTATE_PARTITIONS=2" in said) == (
        2,
        True,
    ), said
    assert dumps(client) == before


def test_a_replay_without_partitions_says_how_to_start_a_worker_for_it(
    server: EmbeddedRedis, recording: Path, tmp_path: Path
) -> None:
    words = (recording, "--namespace", "again", "--partitions", "0", "--max-backlog", "inf")
    code, said = run(server, tmp_path, "replay", *words, partitions=PARTITIONS)
    assert code == 0, said
    assert "REPLAY_NAMESPACE=again MARKETSTATE_PARTITIONS= marketstate worker" in said
