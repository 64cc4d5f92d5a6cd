"""`marketstate serve` while Redis comes and goes, pages are slow, and a signal ends it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.page_server import Page, PageServer
from tests.support.records import make_record, publish
from tests.support.service_manager import Manager
from tests.support.small_workers import worked
from tests.support.worker_process import wait_until

pytestmark = pytest.mark.one_redis_version

MANY = 2_000


@pytest.fixture
def one_server(any_server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(any_server_binary) as server:
        yield server


def test_it_outlives_redis_and_pages_are_told(one_server: EmbeddedRedis, tmp_path: Path) -> None:
    """It also starts without one; and what Redis has lost, pages lose."""
    port = one_server.port
    one_server.kill()
    with PageServer(port, tmp_path) as served, Page(served) as page:
        wait_until(lambda: "connect" in served.ask("/healthz").text, "it has tried")
        assert served.ask("/healthz").status == 503
        assert b"\nmarketstate_up 0.0\n" in served.ask("/metrics").body
        one_server.start()
        with one_server.client() as client:
            worked(one_server, client)
        shown = page.next("markets").document
        assert {one["symbol"] for one in shown["markets"]} == {"BTCUSDT", "ETHUSDT"}
        while not (group := page.next("group").document)["healthy"]:
            pass
        assert (group["trouble"], group["workers_holding"], group["shards_held"]) == ("", 1, 16)
        assert served.ask("/healthz").text == "ok\n"
        one_server.kill()
        while not (away := page.next("group").document)["trouble"]:
            pass
        assert f"Redis at localhost:{port}" in away["trouble"]
        assert (away["lag"], away["shards"]) == (0, 16), "the last numbers stay"
        wait_until(lambda: served.ask("/healthz").status == 503, "it is unhealthy")
        assert len(served.ask("/states.json").document["markets"]) == 2
        one_server.start()
        with one_server.client() as client:
            publish(client, [make_record("NEWUSDT", 0)])
        # All that is there is sent again: perhaps it was read before anything was published.
        back = page.next("all").document
        back = back if back["markets"] else page.next("markets").document
        assert [one["symbol"] for one in back["markets"]] == ["NEWUSDT"]
        assert page.next("group").document["trouble"] == ""
        assert served.terminate() == 0
        assert "Traceback" not in served.log
        assert "unhealthy: Redis at localhost" in served.log


def test_what_redis_has_lost_while_it_runs_is_no_longer_shown(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """No connection is lost meanwhile. What is trimmed from the stream stays."""
    worked(server, client)
    with PageServer(server.port, tmp_path) as served:

        def shown() -> set[str]:
            return {one["symbol"] for one in served.ask("/states.json").document["markets"]}

        wait_until(lambda: shown() == {"BTCUSDT", "ETHUSDT"}, "states")
        client.flushall()
        wait_until(lambda: shown() == set(), "all are gone")
        publish(client, [make_record("OLDUSDT", 0)])
        wait_until(lambda: shown() == {"OLDUSDT"}, "a new one")
        with client.pipeline() as steps:
            publish(steps, [make_record("NEWUSDT", 0)])
            steps.xtrim("quantum:stream:marketstate", maxlen=1, approximate=False)
            steps.execute()
        wait_until(lambda: shown() == {"OLDUSDT", "NEWUSDT"}, "both")


def test_a_page_that_reads_slowly_gets_all_it_missed_at_once_and_costs_no_memory(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """The first event alone is more than the socket takes. Nothing is queued behind it."""
    # Long enough that the buffers hold less than half of it.
    names = [f"{i:0>60}" for i in range(MANY)]
    publish(client, [make_record(name, i) for i in range(3) for name in names])
    with PageServer(server.port, tmp_path, unix=tmp_path / "page.sock") as served:

        def shows(number: int) -> bool:
            """The last one is published last."""
            reply = served.ask(f"/states/{names[-1]}.json")
            return reply.status == 200 and len(reply.document["times"]) == number + 1

        wait_until(lambda: shows(2), "all are shown")
        with Page(served) as slow:
            for number in range(3, 6):
                publish(client, [make_record(name, number, close=number) for name in names])
                wait_until(lambda: shows(number), "all are shown")  # noqa: B023
            first, second = slow.next("all").document, slow.next("markets").document
    assert [one["states"][0]["closes"] for one in first["markets"]] == [2] * MANY
    for one in second["markets"]:
        assert [state["closes"] for state in one["states"]] == [5]
        assert one["recent"] == [100.0] * 3 + [3.0, 4.0]
    assert len(second["markets"]) == MANY


def test_sigterm_ends_it_at_once_also_with_open_pages_and_half_a_request(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    publish(client, [make_record("BTCUSDT", 0)])
    with PageServer(server.port, tmp_path) as served, Page(served) as page:
        page.next("group")
        half = served.connect()
        half.sendall(b"GET / HTTP/1.1\r\n")
        assert served.terminate() == 0
        assert [event.name for event in page.events if event.name == "all"] in ([], ["all"])
        assert half.recv(1) == b""
        half.close()
        assert "Traceback" not in served.log
        assert "ERROR" not in served.log


def test_the_manager_hears_that_it_is_ready_alive_and_ending(
    server: EmbeddedRedis, client: redis.Redis, manager: Manager, tmp_path: Path
) -> None:
    worked(server, client)
    with PageServer(server.port, tmp_path) as served:
        manager.wait_for("READY=1")
        manager.wait_for("STATUS=pages 0, ok")
        with Page(served):
            manager.wait_for("STATUS=pages 1, ok")
        manager.wait_for("WATCHDOG=1", times=5)
        assert served.terminate() == 0
        manager.wait_for("STOPPING=1\nSTATUS=ending")


def test_a_mistake_in_the_settings_ends_it_with_one_line(manager: Manager, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="MARKETSTATE_SHARDS"),
        PageServer(1, tmp_path, shards=0),
    ):
        pass
    manager.wait_for("STATUS=MARKETSTATE_SHARDS")


def test_the_user_of_the_metrics_may_read_all_that_the_page_shows(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    """And Redis refuses it nothing."""
    worked(server, client)
    who = {"redis_username": "marketstate-metrics", "redis_password": "reads"}
    set_user(client, "marketstate-metrics", "reads")
    client.acl_log_reset()
    with PageServer(server.port, tmp_path, "--per-symbol", **who) as served:  # type: ignore[arg-type]
        wait_until(lambda: served.ask("/healthz").status == 200, "it is healthy")
        assert len(served.ask("/states.json").document["markets"]) == 2
        assert b'marketstate_sigma{symbol="BTCUSDT"}' in served.ask("/metrics").body
        assert served.ask("/states/BTCUSDT.json").status == 200
    log: list[dict[str, str]] = client.acl_log()  # type: ignore[assignment]
    refused = [each for each in log if not each["object"].startswith("client")]
    client.acl_deluser("marketstate-metrics")
    assert refused == []


def test_a_user_who_may_only_read_the_outputs_is_shown_the_markets_and_the_reason(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    worked(server, client)
    set_user(client, "marketstate-reader", "reads")
    who = {"redis_username": "marketstate-reader", "redis_password": "reads"}
    with PageServer(server.port, tmp_path, **who) as served, Page(served) as page:  # type: ignore[arg-type]
        while not (group := page.next("group").document)["status_trouble"]:
            pass
        assert len(served.ask("/states.json").document["markets"]) == 2
    client.acl_deluser("marketstate-reader")
    assert group["trouble"] == ""
    assert (group["workers_holding"], group["lag"], group["healthy"]) == (None, None, False)
