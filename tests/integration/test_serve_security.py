"""`marketstate serve` answers only whom it should, and only what is harmless."""

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.commands.serve.app import MOST_PAGES
from marketstate.worker.commands.serve.connection import MOST_BYTES_OF_REQUEST
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.page_server import Page, PageServer
from tests.support.processes import MARKETSTATE, environment
from tests.support.records import make_record, publish
from tests.support.worker_process import wait_until

pytestmark = pytest.mark.one_redis_version

SECRET = "never-to-be-seen"
PATHS = ("/", "/healthz", "/metrics", "/states.json", "/states/X.json", "/events", "/assets/x")


@pytest.fixture(scope="module")
def served(
    shared_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("served")
    with shared_server.client() as client:
        client.flushall()
        publish(client, [make_record(name, 0) for name in ("BTCUSDT", "<script>", "..", "A/B")])
    options = ("--host", "states.example.com", "--host", "[fd00::1]")
    with PageServer(shared_server.port, folder, *options) as served:
        wait_until(lambda: len(served.ask("/states.json").document["markets"]) == 4, "states")
        yield served
        assert served.terminate() == 0
        assert "Traceback" not in served.log


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "localhost.evil.example.com",
        "127.0.0.1.evil.example.com",
        "states.example.com.evil",
        "evil@localhost",
        "localhost:80:80",
        "localhost:evil",
        "localhost/",
        "[::1",
        "169.254.169.254",
        "0.0.0.0",
        "*",
        "",
    ],
)
def test_a_request_with_a_foreign_host_learns_nothing(served: PageServer, host: str) -> None:
    for path in PATHS:
        reply = served.ask(path, Host=host)
        assert reply.status == 400
        assert reply.body == b"this host is not served: see --host of marketstate serve\n"


def test_the_known_hosts_are_served_with_any_port_and_in_any_case(served: PageServer) -> None:
    for host in ("localhost", "127.0.0.1:80", "[::1]:8043", "States.Example.com", "[FD00::1]:1"):
        assert served.ask("/states.json", Host=host).status == 200, host


def test_the_address_it_listens_on_is_a_host_that_it_knows(
    shared_server: EmbeddedRedis, tmp_path: Path
) -> None:
    with PageServer(shared_server.port, tmp_path, "--listen", "127.0.0.2:0") as served:
        assert served.ask("/", Host=f"127.0.0.2:{served.port}").status == 200
        assert served.ask("/", Host="127.0.0.3").status == 400


def test_several_hosts_none_or_one_in_the_target_are_refused(served: PageServer) -> None:
    two = b"GET /states.json HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"
    none = b"GET /states.json HTTP/1.0\r\n\r\n"
    in_target = b"GET http://localhost/states.json HTTP/1.1\r\nHost: evil\r\n\r\n"
    for request in (two, none, in_target):
        assert served.ask_raw(request).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"]
)
def test_other_methods_are_refused(served: PageServer, method: str, path: str) -> None:
    reply = served.ask(path, method)
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_get_and_no_body(served: PageServer, path: str) -> None:
    reply = served.ask(path, "HEAD")
    assert reply.body == b""
    if path != "/events":
        got = served.ask(path)
        assert reply.status == got.status
        assert reply.headers["content-type"] == got.headers["content-type"]


def test_a_request_with_a_body_is_refused_unread(served: PageServer) -> None:
    start = b"GET /states.json HTTP/1.1\r\nHost: localhost\r\n"
    for rest in (
        b"Content-Length: 4\r\n\r\nbody",
        b"Content-Length: 99999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ):
        assert served.ask_raw(start + rest).startswith(b"HTTP/1.1 413 ")


def test_overlong_requests_are_refused(served: PageServer) -> None:
    much = "x" * MOST_BYTES_OF_REQUEST
    for path, headers in (
        (f"/{much}", {}),
        (f"/?{much}", {}),
        (f"/states/{much}.json", {}),
        ("/", {"Cookie": much}),
        ("/", {f"X-{i}": "x" * 80 for i in range(100)}),
    ):
        assert served.ask(path, **headers).status in (400, 431), path[:20]
    # More than it ever keeps of a request that does not end.
    endless = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000
    assert served.ask_raw(endless)[:13] in (b"", b"HTTP/1.1 400 ")


def test_what_is_no_request_cannot_fill_the_log(served: PageServer) -> None:
    before = served.log
    assert served.ask_raw(b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert served.ask("/healthz", Connection="Upgrade", Upgrade="websocket").status in (200, 503)
    assert served.log == before


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../app.py",
        "/assets/../app.py",
        "/assets/..%2fapp.py",
        "/assets/%2e%2e/app.py",
        "/assets/..",
        "/assets/",
        "/assets",
        "/assets/%00",
        "/assets//etc/passwd",
        "//etc/passwd",
        "/assets/index.html/",
        "/states/../states.json",
        "/states/",
        "/states/.json",
        "/states.json/",
        "/favicon.ico",
        "/%ff%fe",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_else_is_found_and_no_folder_is_listed(served: PageServer, path: str) -> None:
    reply = served.ask(path)
    assert reply.status == 404
    assert len(reply.body) < 40
    assert "location" not in reply.headers


def test_odd_symbols_are_data_wherever_they_are(served: PageServer) -> None:
    for path, symbol in {
        "/states/%3Cscript%3E.json": "<script>",
        "/states/...json": "..",
        "/states/%2e%2e.json": "..",
        "/states/A%2FB.json": "A/B",
    }.items():
        reply = served.ask(path)
        assert (reply.status, reply.document["symbol"]) == (200, symbol)
        assert reply.headers["content-type"] == "application/json"
    reply = served.ask("/states/%3Cimg%20onerror=alert(1)%3E.json")
    assert (reply.status, b"img" in reply.body) == (404, False)


@pytest.mark.parametrize("path", [*PATHS, "/nothing"])
def test_every_reply_tells_browsers_to_load_nothing_from_elsewhere(
    served: PageServer, path: str
) -> None:
    for headers in ({}, {"Host": "evil"}):
        if path == "/events" and not headers:
            with Page(served) as page:
                got = {name.lower(): value for name, value in page.response.getheaders()}
        else:
            got = served.ask(path, **headers).headers
        policy = got["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert got["x-content-type-options"] == "nosniff"
        assert got["referrer-policy"] == "no-referrer"
        assert got["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in got
        assert "server" not in got
        is_file = path == "/" and not headers
        assert got["cache-control"] == ("no-cache" if is_file else "no-store")


def test_so_many_pages_may_be_open_and_no_more(served: PageServer) -> None:
    pages = [Page(served) for _ in range(MOST_PAGES)]
    for page in pages:
        assert next(page.events).name == "all"
    with Page(served) as one_more:
        assert one_more.response.status == 503
        assert one_more.response.getheader("retry-after") == "30"
    assert served.ask("/states.json").status == 200
    pages.pop().close()

    def may_open() -> bool:
        with Page(served) as page:
            return page.response.status == 200

    wait_until(may_open, "another page may be opened")
    for page in pages:
        page.close()


def test_no_secret_is_in_any_reply_or_in_the_log(server: EmbeddedRedis, tmp_path: Path) -> None:
    """Not even where Redis refuses the password."""
    url = f"redis://someone:{SECRET}@localhost:{server.port}/0"
    secrets: tuple[dict[str, Any], ...] = ({"redis_url": url}, {"redis_password": SECRET})
    for given in secrets:
        with PageServer(server.port, tmp_path, **given) as served:
            wait_until(lambda: b"marketstate_up" in served.ask("/metrics").body, "it has tried")
            assert served.ask("/healthz").status == 503
            replies = [served.ask(path) for path in PATHS if path != "/events"]
            with Page(served) as page:
                document = str(next(page.events).document)
            said = [document, *(reply.text + str(reply.headers) for reply in replies), served.log]
            assert [text for text in said if SECRET in text] == []


def test_a_unix_socket_is_for_those_whom_the_umask_lets_in(
    server: EmbeddedRedis, client: redis.Redis, tmp_path: Path
) -> None:
    publish(client, [make_record("BTCUSDT", 0)])
    path = tmp_path / "page.sock"
    with PageServer(server.port, tmp_path, unix=path) as served:
        assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0
        wait_until(lambda: served.ask("/states.json").document["markets"], "states")
        assert served.ask("/", Host="evil").status == 400
        assert "another process listens" in refused("--unix", str(path))
        served.kill()
    assert path.exists()
    with PageServer(server.port, tmp_path, unix=path) as served:
        assert served.ask("/states.json").status == 200
        assert served.terminate() == 0
    assert not path.exists()
    path.write_text("mine")
    assert "is there and is no socket" in refused("--unix", str(path))
    assert path.read_text() == "mine"


def test_a_socket_that_another_one_has_taken_over_is_left_to_it(
    shared_server: EmbeddedRedis, tmp_path: Path
) -> None:
    path = tmp_path / "page.sock"
    with PageServer(shared_server.port, tmp_path, unix=path) as first:
        path.unlink()
        with PageServer(shared_server.port, tmp_path, unix=path) as second:
            assert first.terminate() == 0
            assert second.ask("/").status == 200


def refused(*options: str) -> str:
    """What a command line is refused with, as a mistake of its user."""
    done = subprocess.run(
        [*MARKETSTATE, "serve", *options],
        env=environment(redis_port=1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_nobody_beyond_this_machine_is_let_in_by_accident(served: PageServer) -> None:
    everywhere = ("--listen", "0.0.0.0:0")
    assert "can be reached from other machines" in refused(*everywhere)
    assert "can be reached from other machines" in refused("--listen", "[::]:0")
    assert "--beyond-loopback needs --host NAME" in refused(*everywhere, "--beyond-loopback")
    assert "must be the name of a host" in refused(*everywhere, "--host", "*")
    assert "must be an address and a port" in refused("--listen", "8043")
    in_use = refused("--listen", f"127.0.0.1:{served.port}")
    assert (
        "Address already in use; choose another with --listen, or stop what listens there" in in_use
    )
