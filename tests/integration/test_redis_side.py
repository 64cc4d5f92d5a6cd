"""What deploy/redis says about the server, on real servers: persistence, and TLS by URL."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis, free_port
from marketstate.worker.settings import Settings, settings_from
from marketstate.worker.store import connection
from tests.support.candles import made_candles
from tests.support.cluster_nodes import port_with_bus
from tests.support.processes import Sentinel
from tests.support.redis_cluster import LocalCluster
from tests.support.redis_versions import is_built_with_tls
from tests.support.worker_process import (
    WorkerProcess,
    counters,
    feed,
    published,
    wait_until,
    wait_until_finished,
)

CONF = Path(__file__).parents[2] / "deploy" / "redis" / "marketstate.conf"
CANDLES = made_candles(("BTCUSDT",), 260)


def test_a_killed_server_with_these_settings_recovers_every_acknowledged_write(
    server_binary: Path, tmp_path: Path
) -> None:
    """G3. The operating system keeps even the writes that were not yet flushed to disk."""
    wanted = {
        name: value
        for line in CONF.read_text().splitlines()
        if line and not line.startswith("#")
        for name, value in [line.split()]
    }
    with (
        EmbeddedRedis(server_binary, "--include", str(CONF)) as server,
        server.client() as client,
        WorkerProcess(server.port, tmp_path) as worker,
    ):
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, CANDLES)
        wait_until_finished(client, len(CANDLES))
        before = published(client), counters(client)
        server.kill()
        server.start()
        worker.wait_for_log("Redis is back after")
        assert (published(client), counters(client)) == before


class Certificates(NamedTuple):
    ca: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority and a certificate that it signed for `localhost`, for server and client."""
    folder = tmp_path_factory.mktemp("tls")
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl(
        "req", "-x509", *key, "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2"
    )
    openssl("req", *key, "redis.key", "-out", "redis.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", "redis.csr", *signed, "-extfile", "names", "-out", "redis.pem")
    return Certificates(folder / "ca.pem", folder / "redis.pem", folder / "redis.key")


@pytest.fixture(scope="session")
def tls_server(
    any_server_binary: Path, certificates: Certificates
) -> Iterator[tuple[EmbeddedRedis, int]]:
    """A server that requires client certificates, and its TLS port."""
    if not is_built_with_tls(any_server_binary):
        pytest.skip(f"{any_server_binary} is built without TLS")
    tls_port = free_port()
    options = {
        "--tls-port": tls_port,
        "--tls-ca-cert-file": certificates.ca,
        "--tls-cert-file": certificates.certificate,
        "--tls-key-file": certificates.key,
    }
    words = [str(word) for pair in options.items() for word in pair]
    with EmbeddedRedis(any_server_binary, *words) as server:
        yield server, tls_port


def test_a_worker_works_over_tls(
    tls_server: tuple[EmbeddedRedis, int], certificates: Certificates, tmp_path: Path
) -> None:
    server, port = tls_server
    url = (
        f"rediss://localhost:{port}/0?ssl_ca_certs={certificates.ca}"
        f"&ssl_certfile={certificates.certificate}&ssl_keyfile={certificates.key}"
    )
    with (
        server.client() as client,
        WorkerProcess(server.port, tmp_path, redis_url=url) as worker,
    ):
        worker.wait_for_log("holding 16 of 16 shards")
        feed(client, CANDLES)
        wait_until_finished(client, len(CANDLES))
        assert len(published(client)["BTCUSDT"]) == 4
        assert worker.terminate() == 0


UNTRUSTED = {
    "an unknown authority": ("localhost", "", "certificate verify failed"),
    "another host": ("127.0.0.1", "ssl_ca_certs={ca}", "IP address mismatch"),
    # In TLS 1.3 the server either says why or closes the connection first.
    "no client certificate": (
        "localhost",
        "ssl_ca_certs={ca}",
        "does not answer|closed the connection",
    ),
}


@pytest.mark.parametrize("case", UNTRUSTED)
def test_tls_that_is_not_trusted_is_refused(
    case: str, tls_server: tuple[EmbeddedRedis, int], certificates: Certificates, tmp_path: Path
) -> None:
    server, port = tls_server
    host, given, message = UNTRUSTED[case]
    url = f"rediss://{host}:{port}/0?{given.format(ca=certificates.ca)}"
    with WorkerProcess(server.port, tmp_path, "check", redis_url=url) as check:
        assert check.exit_code() == 3, check.log
    assert re.search(message, check.log.splitlines()[-1])


def test_nodes_of_a_cluster_are_reached_over_tls_as_well(
    tls_server: tuple[EmbeddedRedis, int], certificates: Certificates, tmp_path: Path
) -> None:
    """Certificates contain host names, so the nodes must be configured to announce names."""
    server, _ = tls_server
    port = port_with_bus()
    names = ("--cluster-announce-hostname", "localhost")
    options = [
        *("--tls-cluster", "yes", "--tls-port", str(port)),
        *("--tls-ca-cert-file", str(certificates.ca)),
        *("--tls-cert-file", str(certificates.certificate)),
        *("--tls-key-file", str(certificates.key)),
        *(*names, "--cluster-preferred-endpoint-type", "hostname"),
    ]
    url = (
        f"rediss+cluster://localhost:{port}/?ssl_ca_certs={certificates.ca}"
        f"&ssl_certfile={certificates.certificate}&ssl_keyfile={certificates.key}"
    )
    with (
        LocalCluster(server.binary, *options, masters=1),
        WorkerProcess(port, tmp_path, "check", redis_url=url, partitions=1) as check,
    ):
        assert check.exit_code() == 0, check.log


def test_sentinels_are_reached_over_tls_as_well(
    tls_server: tuple[EmbeddedRedis, int], certificates: Certificates, tmp_path: Path
) -> None:
    """Certificates contain host names, so the sentinels must be configured to announce names."""
    server, port = tls_server
    sentinel_port = free_port()
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"""\
port 0
tls-port {sentinel_port}
tls-replication yes
tls-ca-cert-file {certificates.ca}
tls-cert-file {certificates.certificate}
tls-key-file {certificates.key}
dir {tmp_path}
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel monitor main localhost {port} 1
"""
    )
    url = (
        f"rediss+sentinel://localhost:{sentinel_port}/main/0?ssl_ca_certs={certificates.ca}"
        f"&ssl_certfile={certificates.certificate}&ssl_keyfile={certificates.key}"
    )
    with Sentinel(server.binary, conf):
        settings = settings_from({"MARKETSTATE_REDIS_URL": url})
        wait_until(lambda: _answers(settings), "the sentinel knows the master")
        with WorkerProcess(server.port, tmp_path, "check", redis_url=url) as check:
            assert check.exit_code() == 0, check.log


def _answers(settings: Settings) -> bool:
    try:
        with connection.open_client(settings, block_s=0) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False
