"""What `check` says of the server: its own name and version, and the holes that are known of it."""

from pathlib import Path

import redis

from marketstate.worker.engine.preflight import preflight
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from marketstate.worker.store.known_holes import known_holes
from marketstate.worker.store.server_version import server_version
from tests.servers.fetched import name_and_version


def test_check_names_the_server_as_it_names_itself_and_warns_of_its_holes(
    server: EmbeddedRedis, client: redis.Redis, server_binary: Path
) -> None:
    settings = settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})
    said = [str(each) for each in preflight(settings) if each.subject in ("redis", "version")]
    named = f"ok   redis: {name_and_version(server_binary)} at localhost:{server.port} db 0"
    holes = known_holes(server_version(client.info("server")))
    assert said == [named, *([f"warn version: {holes}"] if holes else [])]
