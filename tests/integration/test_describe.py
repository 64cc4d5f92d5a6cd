"""`marketstate describe --stream`: the states that are in the output stream."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from marketstate.worker.cli import main
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.records import make_record, publish


@pytest.fixture
def published(any_server_binary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    with EmbeddedRedis(any_server_binary) as server, server.client() as client:
        monkeypatch.setenv("MARKETSTATE_REDIS_PORT", str(server.port))
        yield client


def test_what_is_in_the_stream_is_described(
    published: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    for symbol, regimes in (("BBB", ("chop", "mr")), ("AAA", ("chop", "chop"))):
        publish(
            published, (make_record(symbol, i, regime) for i, regime in enumerate(10 * regimes))
        )
    published.xadd("quantum:stream:marketstate", {"other": "entry"})
    assert main(["describe", "--stream", "--json", "--threshold", "ts>=0.2"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert list(found["symbols"]) == ["AAA", "BBB"]
    assert (found["all"]["states"], found["all"]["changes"]) == (40, 19)
    assert found["symbols"]["BBB"]["regimes"]["mr"]["share"] == 0.5
    assert found["all"]["rules"]["ts>=0.2"]["states"] == 40
    assert "not a record of this version" in printed.err


@pytest.mark.usefixtures("published")
def test_a_stream_without_states_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--stream"]) == 2
    assert "has no state; a state needs 257 closes" in capsys.readouterr().err
