"""Asks all partitions at the same time, so that one that fails holds up and hides no other."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, NamedTuple, TypeVar

import redis

from marketstate.schemas.partitions import tag
from marketstate.worker.errors import RedisUnusable, WorkerError
from marketstate.worker.settings import Settings
from marketstate.worker.store import connection
from marketstate.worker.store.connection import Client

T = TypeVar("T")

# A node that does not answer takes the time of a time-out, so its partitions wait together.
ASKED_AT_ONCE: Final = 16


class Answer(NamedTuple, Generic[T]):
    """Of one partition."""

    settings: Settings
    tag: str
    """`{p07}`; empty if the group has no partitions."""
    found: T | None
    trouble: str
    """Why there is no answer; empty if there is one."""


class AllPartitions:
    """Connections stay open from one question to the next; one that failed is opened again."""

    def __init__(
        self,
        settings: Settings,
        open_client: Callable[[Settings], Client] = lambda part: connection.open_client(
            part, block_s=0
        ),
    ) -> None:
        self._parts = tagged_parts(settings)
        self._open = open_client
        self._clients: dict[str, Client] = {}

    def ask(self, action: Callable[[Client, Settings], T]) -> list[Answer[T]]:
        """In the order of the partitions. Raises the error of the first if all of them fail, so
        that a group without partitions fails as it would alone.
        """
        answers = at_once(self._parts, lambda part, name: self._attempt(part, name, action))
        errors = [error for _, error in answers if error is not None]
        if errors and len(errors) == len(answers):
            raise errors[0]
        return [
            Answer(part, name, found, str(error or ""))
            for (part, name), (found, error) in zip(self._parts, answers, strict=True)
        ]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _attempt(
        self, part: Settings, name: str, action: Callable[[Client, Settings], T]
    ) -> tuple[T | None, WorkerError | None]:
        try:
            if name not in self._clients:
                self._clients[name] = self._open(part)
            return action(self._clients[name], part), None
        except redis.RedisError as error:
            if client := self._clients.pop(name, None):
                client.close()
            unusable = connection.unusable(error, part)
            unusable.__cause__ = error
            return None, unusable
        except WorkerError as error:
            return None, error


def tagged_parts(settings: Settings) -> list[tuple[Settings, str]]:
    """The settings and the tag of each partition; without partitions, these settings and no tag."""
    if settings.partitions is None:
        return [(settings, "")]
    return [(part, tag(i)) for i, part in enumerate(settings.each_partition())]


ANY_TAG: Final = "{p*}"
"""Stands for the tag where all partitions are meant."""


def of_all(name: str, settings: Settings) -> str:
    """How the keys of all partitions with this name are shown."""
    return name if settings.partitions is None else f"{name}:{ANY_TAG}"


def at_once(parts: Sequence[tuple[Settings, str]], action: Callable[[Settings, str], T]) -> list[T]:
    """What `action` returns for each partition."""
    if len(parts) == 1:
        return [action(*parts[0])]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        return list(threads.map(lambda each: action(*each), parts))


def unread_partitions(answers: Iterable[Answer[T]]) -> RedisUnusable | None:
    """An error that names the partitions that gave no answer; None if all did."""
    every = list(answers)
    failed = [each for each in every if each.trouble]
    if not failed:
        return None
    return RedisUnusable(
        f"{len(failed)} of {len(every)} partitions cannot be read, such as {failed[0].tag}: "
        f"{failed[0].trouble}"
    )
