"""`scripts/test-servers`: the tests on each server, or with each redis-py, that can be had."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.report import Row, table
from tests.servers.clients import environment_with, versions_in
from tests.servers.debian import NotHad
from tests.servers.fetched import FOLDER, Server, fetched, listed, name_and_version
from tests.servers.options import parser
from tests.servers.runs import exit_with, name_tests, run, split

DONE, FAILED = 0, 1
ON_SERVERS: Final = (
    *("tests/integration", "tests/property", "tests/fault"),
    # The others would give the same on each.
    *("-m", "on_a_server"),
)
WITH_CLIENTS: Final = ("tests/integration",)
RESULTS: Final = FOLDER / "results"


class Ready(NamedTuple):
    python: Path
    server: Path
    says: str
    """Its own name and version."""


def main() -> int:
    words, given = split(sys.argv[1:])
    options = parser().parse_args(words)
    known = listed()
    make_ready: dict[str, Callable[[], Ready]]
    if options.clients:
        newest = known.servers[-1]
        make_ready = {name: partial(_client, name, newest) for name in known.clients}
    else:
        make_ready = {server.name: partial(_server, server) for server in known.servers}
    if unknown := [name for name in options.names if name not in make_ready]:
        parser().error(f"there is no {unknown[0]!r}; there are {', '.join(make_ready)}")
    if options.list:
        print("\n".join(make_ready))
        return DONE
    if not name_tests(given):
        given += WITH_CLIENTS if options.clients else ON_SERVERS
    rows = [row(name, make_ready[name], given) for name in options.names or make_ready]
    print(f"\n{table(rows)}")
    return FAILED if any(row.get("failed") for row in rows) else DONE


def _server(server: Server) -> Ready:
    binary = fetched(server)
    return Ready(Path(sys.executable), binary, name_and_version(binary))


def _client(requirement: str, server: Server) -> Ready:
    python = environment_with(requirement)
    return Ready(python, fetched(server), versions_in(python))


def row(name: str, make_ready: Callable[[], Ready], given: list[str]) -> Row:
    print(f"\n{name}", flush=True)
    try:
        ready = make_ready()
    except NotHad as reason:
        print(f"cannot be had here: {reason}", flush=True)
        return {"name": name, "says": "cannot be had here"}
    print(ready.says, flush=True)
    report = RESULTS / f"{name}.xml"
    counted = run(ready.python, report, "--redis-server", ready.server, *given)
    return {"name": name, "says": ready.says} | counted


if __name__ == "__main__":
    exit_with(main)
