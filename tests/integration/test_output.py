"""Standard output, also if it cannot encode some of the text or is full."""

import subprocess
from pathlib import Path

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import NEEDED, made_candles
from tests.support.processes import MARKETSTATE, piped
from tests.support.steps import SteppedWorker
from tests.support.worker_process import feed

ODD = "ДОГЕ"


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_symbol_that_the_terminal_cannot_show_is_escaped(
    command: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    worker = SteppedWorker(server, "one", start="replay")
    worker.keep()
    feed(client, made_candles((ODD,), NEEDED))
    worker.finish_all()
    client.delete(worker.keys.state(ODD))  # so that verify has something to report
    options = ["--max-state-age", "inf"] if command == "verify" else []
    shown, complaints = piped(
        [*MARKETSTATE, command, *options],
        MARKETSTATE_REDIS_PORT=str(server.port),
        MARKETSTATE_REDIS_HOST="127.0.0.1",
        PYTHONIOENCODING="latin-1",
    ).communicate()
    assert ODD.encode("ascii", "backslashreplace").decode() in shown
    assert complaints == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output_is_one_clear_line() -> None:
    with Path("/dev/full").open("w") as full:
        found = subprocess.run(
            [*MARKETSTATE, "state", "--synthetic", "trend"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    expected = (1, "marketstate: cannot write the output: No space left on device\n")
    assert (found.returncode, found.stderr) == expected
