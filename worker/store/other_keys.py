"""Reads keys of other programs. On a cluster, they may be on any node, not only on ours."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, Self

import redis

from marketstate.worker.store.cluster import Address, Masters, pool_at
from marketstate.worker.store.refusal import reason


class Question(NamedTuple):
    """What to read of a key: `ask` is one command, called on a client or a pipeline."""

    key: str
    ask: Callable[[redis.Redis], Any]


class KeyUnreadable(Exception):
    """The reply of a node that is not ours. Nobody waits until it has a better one."""


class OnOurServer:
    """With the client that everything else uses: if its connection is lost, so is all else."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def replies(self, questions: Sequence[Question]) -> list[Any]:
        """In this order. Errors of single keys are among them; that of a connection is raised."""
        with self._client.pipeline(transaction=False) as reads:
            for question in questions:
                question.ask(reads)
            return reads.execute(raise_on_error=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The client belongs to others."""


class OnAnyNode:
    """Connects to the nodes that are needed. One that has failed is not asked again, so each costs
    one timeout at most. As a context manager, this closes all connections at the end.
    """

    def __init__(self, nodes: Sequence[Address], options: dict[str, Any]) -> None:
        self._nodes = nodes
        self._options = options
        self._masters: Masters | None = None
        self._clients: dict[Address, redis.Redis] = {}
        self._failed: dict[Address | None, KeyUnreadable] = {}
        """By node; with None, nobody could say which node it is."""
        self._stack = ExitStack()

    def replies(self, questions: Sequence[Question]) -> list[Any]:
        """In this order; all errors are among them."""
        return [self._reply(question) for question in questions]

    def _reply(self, question: Question) -> Any:
        node = None
        try:
            if None not in self._failed:
                self._masters = self._masters or Masters(self._nodes, self._options)
                node = self._masters.of(question.key)
            if node is None or node in self._failed:
                return self._failed[node]
            return question.ask(self._client_at(node))
        except redis.RedisError as error:
            failed = KeyUnreadable(reason(error))
            if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
                self._failed[node] = failed
            return failed

    def _client_at(self, node: Address) -> redis.Redis:
        if node not in self._clients:
            client = redis.Redis.from_pool(pool_at(node, self._options))
            self._clients[node] = self._stack.enter_context(client)
        return self._clients[node]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
