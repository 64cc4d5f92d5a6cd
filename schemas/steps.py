"""The steps of a reader: what it asks Redis, and how long it waits.

A reader's rules are generators that yield these steps, and are sent the reply or thrown the error.
So they are written once, for `schemas/reader.py` and `schemas/aio.py`, which carry the steps out.
"""

from collections.abc import Generator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Command(NamedTuple):
    """To Redis: a method of a redis-py client."""

    name: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    key: str = ""
    """Of a cluster client, the key whose node it is for."""

    def of(self, client: Any) -> Any:
        """The reply, or of an asynchronous client what can be awaited for it."""
        to_node: dict[str, Any] = {}
        if self.key:
            with suppress(Exception):  # the client has not connected: then it finds the node itself
                to_node["target_nodes"] = client.get_node_from_key(self.key)
        return getattr(client, self.name)(*self.arguments, **self.options, **to_node)


class Wait(NamedTuple):
    seconds: float


Steps = Generator[Command | Wait, Any, T]
Step = TypeVar("Step")


def next_step(steps: Generator[Step, Any, Any], reply: Any, error: Exception | None) -> Step | None:
    """The one after the step that had this reply, or this error; None at the end."""
    try:
        return steps.throw(error) if error else steps.send(reply)
    except StopIteration:
        return None


def command(name: str, *arguments: Any, **options: Any) -> Steps[Any]:
    """Its reply."""
    return (yield Command(name, arguments, options))


def command_to_node(key: str, *words: Any) -> Steps[Any]:
    """The reply of the node of a cluster that has this key.

    For a command whose keys have no fixed place, a cluster client asks its default node where they
    are, each time: while that one is away, the client reads from no other.
    """
    return (yield Command("execute_command", words, {}, key))
