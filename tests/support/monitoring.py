"""What Redis carries out while a test does something: its own MONITOR."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from marketstate.worker.local.redis_server import EmbeddedRedis

END = "the end of what is watched"


class Command(NamedTuple):
    words: list[str]
    in_script: bool

    @property
    def name(self) -> str:
        return self.words[0].upper()


@contextmanager
def monitored(server: EmbeddedRedis) -> Iterator[list[Command]]:
    """All commands, those of scripts too, in a list that is complete when the context is left."""
    commands: list[Command] = []
    with server.client() as client, server.client() as other:
        # Since Redis 7.2, a client reports its version when it connects: not while we watch.
        other.ping()
        monitor: Any = client.monitor()
        with monitor:
            yield commands
            other.echo(END)
            while True:
                command = _parsed(monitor)
                if END in command.words:
                    return
                commands.append(command)


def _parsed(monitor: Any) -> Command:
    line = monitor.connection.read_response().decode(errors="replace")
    _, _, told = line.partition(" ")
    in_script = told.partition("]")[0].endswith(" lua")
    return Command(monitor.command_re.findall(told), in_script)
