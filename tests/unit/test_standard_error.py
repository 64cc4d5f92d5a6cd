"""A log pipe that nobody reads: lines are dropped and counted, and the writer continues."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from marketstate.worker.commands.standard_error import StandardError

PATIENCE_S = 20.0
LINE = "x" * 99


class Pipe:
    """Of the usual 64 kB, with a reader that reads only when told to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def read(self) -> str:
        os.set_blocking(self.reader, False)
        try:
            return os.read(self.reader, 1_000_000).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def written(stream: StandardError, lines: list[str]) -> bool:
    """Whether it came back, which a thread finds out: it might not."""

    def write() -> None:
        for line in lines:
            stream.write(f"{line}\n")

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return not thread.is_alive()


def numbered(first: int, count: int) -> list[str]:
    return [f"{i} {LINE}" for i in range(first, first + count)]


def test_the_writer_continues_and_reports_what_is_missing_once_the_pipe_is_read(pipe: Pipe) -> None:
    """G6: a worker that waited for its reader held its leases and did nothing."""
    stream = StandardError(pipe.writer, before_notice="<4>", patience_s=0.01)
    assert written(stream, numbered(0, 5_000))
    first = pipe.read()
    assert written(stream, numbered(5_000, 3))
    *rest, notice, a, b, c = pipe.read().splitlines()
    arrived = (first + "\n".join(rest)).splitlines()
    assert arrived == numbered(0, len(arrived))
    assert notice == f"<4>{5_000 - len(arrived)} log lines were dropped here: nobody read them"
    assert [a, b, c] == numbered(5_000, 3)
    assert 500 < len(arrived) < 700


def test_a_message_that_was_begun_is_not_cut(pipe: Pipe) -> None:
    """Many lines at once, more than a pipe has room for: the rest comes when there is room."""
    stream = StandardError(pipe.writer, patience_s=0.01)
    message = "\n".join(numbered(0, 1_000))
    assert written(stream, [message, "dropped"])
    read = ""
    while "the end" not in read:
        read += pipe.read()
        stream.write("the end\n")
    notice = "1 log lines were dropped here: nobody read them"
    assert read.startswith(f"{message}\n{notice}\nthe end\n")


def test_a_short_halt_of_the_reader_costs_nothing(pipe: Pipe) -> None:
    stream = StandardError(pipe.writer, patience_s=PATIENCE_S)
    lines, read = numbered(0, 500), b""
    thread = threading.Thread(target=written, args=(stream, lines), daemon=True)
    thread.start()
    while read.count(b"\n") < len(lines):
        read += os.read(pipe.reader, 1_000)
    assert read.decode().splitlines() == lines


def test_another_writer_that_fills_the_pipe_does_not_hold_us_up(pipe: Pipe) -> None:
    """Between our look for room and our write."""
    stream = StandardError(pipe.writer, patience_s=0.01)
    assert not os.get_blocking(stream.fileno())
    assert os.get_blocking(pipe.writer), "others share it: for them nothing changes"


def test_a_reader_that_has_gone_ends_nothing(pipe: Pipe) -> None:
    stream = StandardError(pipe.writer, patience_s=0.01)
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.reader)
    assert written(stream, numbered(0, 1_000))


def test_a_socket_that_nobody_reads_does_not_hold_us_up() -> None:
    """As of the journal."""
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        stream = StandardError(ours.fileno(), patience_s=0.01)
        assert written(stream, numbered(0, 10_000))
        assert theirs.recv(100_000).decode().startswith("0 xxx")


def test_a_file_gets_everything_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    with path.open("a") as file:
        stream = StandardError(file.fileno())
        stream.write("half ")
        stream.write("a line\nand \udcff\nno end")
        stream.flush()
    assert path.read_text() == "before\nhalf a line\nand \\udcff\nno end"
