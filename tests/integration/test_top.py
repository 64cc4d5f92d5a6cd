"""`marketstate top` in a terminal, on a real Redis."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.acl import set_user
from tests.support.candles import made_candles
from tests.support.records import make_record, publish
from tests.support.steps import SteppedWorker
from tests.support.terminal import Terminal
from tests.support.worker_process import WorkerProcess, feed, wait_until


@pytest.fixture
def one_server(any_server_binary: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(any_server_binary) as server:
        yield server


@pytest.fixture
def one_client(one_server: EmbeddedRedis) -> Iterator[redis.Redis]:
    with one_server.client() as client:
        yield client


def top(server: EmbeddedRedis, *options: str, **settings: object) -> Terminal:
    encoding = str(settings.pop("encoding", "utf-8"))
    started_by: Any = settings.pop("started_by", ())
    # Some shells export their size, which is outdated after the first resize.
    environ = {"PYTHONIOENCODING": encoding, "COLUMNS": "30", "LINES": "7"}
    return Terminal(
        "top", *options, started_by=started_by, environ=environ, redis_port=server.port, **settings
    )


def test_it_shows_markets_and_the_group_reacts_to_keys_and_restores_the_terminal(
    one_server: EmbeddedRedis, one_client: redis.Redis
) -> None:
    worker = SteppedWorker(one_server, "one")
    worker.keep()
    feed(one_client, made_candles(("AAAUSDT",), 3))
    publish(one_client, (make_record(f"SYM{i:03d}", 0) for i in range(600)))
    with top(one_server) as terminal:
        terminal.wait_for("rows 1-19 of 600")
        assert "workers 1  lag 3  pending 0" in terminal.screen[1]
        worker.finish_all()
        publish(one_client, [make_record("BTCUSDT", 0, close=97123.5)])
        terminal.wait_for("lag 0")
        terminal.wait_for("97123.5")
        terminal.press("/sym59\r")
        terminal.wait_for("rows 1-10 of 10 with 'sym59'")
        terminal.resize(50, 10)
        terminal.wait_for("rows 1-5 of")
        assert sorted({len(line) for line in terminal.screen if line}) == [50]
        terminal.press("\x1b")
        terminal.press("\x1b[6~")
        terminal.wait_for("rows 2-6 of")
        terminal.press("j\r")
        terminal.wait_for("SYM005 ")
        terminal.wait_for("Enter back")
        terminal.press("q")
        assert terminal.exit_code() == 0
        assert terminal.attributes == terminal.before
        assert "\x1b[?1049l" in terminal.written.rpartition("\x1b[?1049h")[2]


def test_ctrl_c_ends_it_too(one_server: EmbeddedRedis, one_client: redis.Redis) -> None:
    publish(one_client, [make_record("BTCUSDT", 0)])
    with top(one_server) as terminal:
        terminal.wait_for("BTCUSDT")
        terminal.press("\x03")
        assert terminal.exit_code() == 130
        assert terminal.attributes == terminal.before
        assert "Traceback" not in terminal.written


def test_ctrl_z_gives_the_terminal_back_until_the_shell_continues_it(
    one_server: EmbeddedRedis, one_client: redis.Redis
) -> None:
    """In a shell with job control: without one, nobody could continue it."""
    publish(one_client, [make_record("BTCUSDT", 0)])
    shell = ("bash", "-c", 'set -m; "$@"; echo "stopped with $?"; read; fg', "bash")
    with top(one_server, started_by=shell) as terminal:
        terminal.wait_for("BTCUSDT")
        terminal.press("\x1a")
        wait_until(lambda: "stopped with 148" in terminal.written, "it is suspended")
        assert "\x1b[?1049l" in terminal.written.rpartition("\x1b[?1049h")[2]
        publish(one_client, [make_record("ETHUSDT", 0)])
        terminal.press("\n")
        terminal.wait_for("ETHUSDT")
        terminal.press("q")
        assert terminal.exit_code() == 0
        assert terminal.attributes == terminal.before


@pytest.mark.parametrize("kind", ["dumb", ""])
def test_a_terminal_without_a_cursor_gets_a_message(kind: str) -> None:
    with Terminal("top", environ={"TERM": kind}, redis_port=1) as terminal:
        assert terminal.exit_code() == 2
        assert "Use marketstate status --watch" in terminal.written
        assert "\x1b" not in terminal.written


def test_a_redis_outage_is_shown_until_it_is_back(
    one_server: EmbeddedRedis, one_client: redis.Redis
) -> None:
    publish(one_client, [make_record("BTCUSDT", 0)])
    with top(one_server) as terminal:
        terminal.wait_for("BTCUSDT")
        one_server.kill()
        terminal.wait_for("retrying")
        terminal.wait_for("BTCUSDT")
        one_server.start()
        publish(one_client, [make_record("ETHUSDT", 0)])
        terminal.wait_for("ETHUSDT")
        assert not any("retrying" in line for line in terminal.screen)
        assert not any("BTCUSDT" in line for line in terminal.screen), "it came back empty"


def test_a_user_who_may_only_read_the_outputs_sees_the_markets_and_the_reason(
    server: EmbeddedRedis, client: redis.Redis
) -> None:
    SteppedWorker(server, "one").keep()
    publish(client, [make_record("BTCUSDT", 0)])
    user = "marketstate-reader"
    set_user(client, user, "only-reads")
    with top(server, redis_username=user, redis_password="only-reads") as terminal:
        terminal.wait_for("BTCUSDT")
        reason = "(this user is not allowed to read the group)"
        assert terminal.screen[1].rstrip() == f"states/min 1  {reason}"
        assert "this user is not allowed to read the group" in terminal.screen[1]


@pytest.mark.parametrize(("encoding", "options"), [("latin-1", []), ("utf-8", ["--ascii"])])
def test_a_terminal_without_block_characters_gets_ascii(
    one_server: EmbeddedRedis, one_client: redis.Redis, encoding: str, options: list[str]
) -> None:
    publish(one_client, [make_record("币USDT", 0)])
    with top(one_server, *options, encoding=encoding) as terminal:
        terminal.wait_for("USDT")
        terminal.wait_for("##==.")
        assert all(line.isascii() for line in terminal.screen[:3])


def test_without_a_terminal_or_a_redis_it_says_so_in_one_line(tmp_path: Path) -> None:
    with WorkerProcess(1, tmp_path, "top") as process:
        assert process.exit_code() == 2
        assert [line.partition(";")[0] for line in process.log.splitlines()] == [
            "marketstate: top needs a terminal"
        ]
    with Terminal("top", environ={}, redis_port=1) as terminal:
        assert terminal.exit_code() == 3
        assert "does not answer" in terminal.written
        assert len(terminal.written.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "library"),
    [(["top"], "rich"), (["plot", "BTCUSDT", "--out", "a.png"], "matplotlib")],
)
def test_without_the_extra_a_line_says_how_to_install_it(
    arguments: list[str], library: str
) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None; "
        f"from marketstate.worker.cli import main; sys.exit(main({arguments!r}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) == 1
    assert "the extra `view`, pip install '.[view]' in the checkout" in found.stderr
    assert "pip install matplotlib rich" in found.stderr


@pytest.mark.parametrize("name", ["top", "plot"])
def test_without_the_extra_the_options_are_shown(name: str) -> None:
    code = (
        "import sys; sys.modules['rich'] = sys.modules['matplotlib'] = None; "
        f"from marketstate.worker.cli import main; sys.exit(main([{name!r}, '--help']))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert f"usage: marketstate {name} [-h]" in found.stdout
