"""Asks all partitions at the same time, so that one that fails holds up and hides no other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Final, Generic, NamedTuple, TypeVar

import redis

from marketstate.worker.errors import RedisUnusable, WorkerError
from marketstate.worker.settings import Settings
from marketstate.worker.store import connection
from marketstate.worker.store.connection import Client

T = TypeVar("T")

# A node that does not answer costs a timeout, so its partitions wait together.
ASKED_AT_ONCE: Final = 16


class Answer(NamedTuple, Generic[T]):
    """Of one partition."""

    settings: Settings
    found: T | None
    trouble: str
    """Why there is no answer; empty if there is one."""

    @property
    def tag(self) -> str:
        """`{p07}`; empty if the group has no partitions."""
        return self.settings.tag


def _opened(settings: Settings) -> Client:
    return connection.open_client(settings, block_s=0)


class AllPartitions:
    """Connections stay open from one question to the next; one that failed is opened again."""

    def __init__(
        self,
        settings: Settings,
        open_client: Callable[[Settings], Client] = _opened,
        *,
        asks_again: bool = True,
    ) -> None:
        """Without `asks_again`, a partition whose Redis failed is not waited for at the next
        question: its answer is the same.
        """
        self._parts = settings.each_partition()
        self._open = open_client
        self._clients: dict[str, Client] = {}
        self._asks_again = asks_again
        self._failed: dict[str, RedisUnusable] = {}

    def ask(self, action: Callable[[Client, Settings], T]) -> list[Answer[T]]:
        """In the order of the partitions. Raises the error of the first if all of them fail, so
        that a group without partitions fails as it would alone.
        """
        answers = at_once(self._parts, lambda part: self._attempt(part, action))
        errors = [error for _, error in answers if error is not None]
        if errors and len(errors) == len(answers):
            raise errors[0]
        return [
            Answer(part, found, str(error or ""))
            for part, (found, error) in zip(self._parts, answers, strict=True)
        ]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _attempt(
        self, part: Settings, action: Callable[[Client, Settings], T]
    ) -> tuple[T | None, WorkerError | None]:
        if part.tag in self._failed:
            return None, self._failed[part.tag]
        try:
            if part.tag not in self._clients:
                self._clients[part.tag] = self._open(part)
            return action(self._clients[part.tag], part), None
        except redis.RedisError as error:
            if client := self._clients.pop(part.tag, None):
                client.close()
            unusable = connection.unusable(error, part)
            unusable.__cause__ = error
            if not self._asks_again:
                self._failed[part.tag] = unusable
            return None, unusable
        except WorkerError as error:
            return None, error


class Part(NamedTuple):
    """A partition, and a connection to it; without partitions, the group."""

    client: Client
    settings: Settings


@contextmanager
def opened(
    settings: Settings,
    open_client: Callable[[Settings], Client] = _opened,
    account_needed: str = "",
) -> Iterator[list[Part]]:
    """All partitions, for what needs every one of them. Raises RedisUnusable for what Redis
    refuses.
    """
    with connection.reporting(settings, account_needed), ExitStack() as stack:
        yield [
            Part(stack.enter_context(open_client(part)), part) for part in settings.each_partition()
        ]


def at_once(parts: Sequence[Settings], action: Callable[[Settings], T]) -> list[T]:
    """What `action` returns for each partition."""
    if len(parts) == 1:
        return [action(parts[0])]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        return list(threads.map(action, parts))


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
