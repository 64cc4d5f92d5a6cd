"""`scripts/test-servers`: the tests on each server, or with each redis-py, that can be had."""

import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.report import Row, table
from tests.servers.clients import environment_with, versions_in
from tests.servers.counts import counts
from tests.servers.debian import NotHad
from tests.servers.fetched import FOLDER, Server, fetched, listed, name_and_version
from tests.servers.options import parser

DONE, FAILED = 0, 1
ON_SERVERS: Final = ("tests/integration", "tests/property", "tests/fault")
WITH_CLIENTS: Final = ("tests/integration",)
RESULTS: Final = FOLDER / "results"


class Ready(NamedTuple):
    python: Path
    server: Path
    says: str
    """Its own name and version."""


def main() -> int:
    words, given = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, given = words[:at], words[at + 1 :]
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
    if not any(Path(word.partition("::")[0]).exists() for word in given):
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
    RESULTS.mkdir(parents=True, exist_ok=True)
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    # No cache: what one run remembers must not change the next.
    quiet = ("-p", "no:cacheprovider", "--quiet", "--numprocesses", "2", "--junit-xml", report)
    subprocess.run(
        [ready.python, "-m", "pytest", *quiet, "--redis-server", ready.server, *given], check=False
    )
    return {"name": name, "says": ready.says} | counts(report)


if __name__ == "__main__":
    # Exit normally, so that pytest ends its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
