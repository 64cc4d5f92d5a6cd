"""Fixtures for every test. Tests that need Redis start their own, and fail without one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings

from marketstate.worker.local.redis_server import (
    NONE_FOUND,
    EmbeddedRedis,
    installed_server,
    packaged_server,
)
from marketstate.worker.log import log
from tests.support.processes import give_children_the_default_signals
from tests.support.redis_cluster import LocalCluster
from tests.support.redis_versions import oldest_server
from tests.support.service_manager import Manager

# No test judges how long something takes.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SERVERS = pytest.StashKey[dict[str, Path]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--redis-server",
        type=Path,
        metavar="PATH",
        help="a program of this name: the tests run on it alone (see scripts/test-servers)",
    )


def pytest_configure(config: pytest.Config) -> None:
    only: Path | None = config.getoption("--redis-server")
    if only:
        # What the tests start finds it there too.
        os.environ["PATH"] = f"{only.absolute().parent}:{os.environ['PATH']}"
        if installed_server() != only.absolute():
            raise pytest.UsageError(f"--redis-server: {only} is no program named redis-server")
    usual = installed_server() or packaged_server()
    found = {"usual": usual, "oldest": None if only else oldest_server()}
    config.stash[SERVERS] = {name: path for name, path in found.items() if path}
    config.addinivalue_line(
        "markers", "one_redis_version: the shared server need not be one of each version"
    )
    config.addinivalue_line("markers", "on_a_server: it needs a Redis; every test that does has it")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before `-m` chooses, as for scripts/test-servers."""
    for item in items:
        fixtures = item.fixturenames if isinstance(item, pytest.Function) else ()
        if {"server_binary", "any_server_binary"} & {*fixtures}:
            item.add_marker("on_a_server")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server_binary" in metafunc.fixturenames:
        names = [*metafunc.config.stash[SERVERS]] or ["none"]
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
    """In turn the one that users most likely have, and the oldest that is promised."""
    servers = request.config.stash[SERVERS]
    if request.param not in servers:
        pytest.fail(NONE_FOUND)
    return servers[request.param]


@pytest.fixture(scope="session")
def any_server_binary(request: pytest.FixtureRequest) -> Path:
    """The one that users most likely have, for tests that work with any version."""
    servers = request.config.stash[SERVERS]
    if not servers:
        pytest.fail(NONE_FOUND)
    return next(iter(servers.values()))


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
