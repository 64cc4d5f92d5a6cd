"""Reads several keys at one moment, so that what they say fits together."""

from collections.abc import Callable
from typing import Any

import redis
from redis.client import Pipeline

from marketstate.worker.store.connection import Client


def read_together(
    client: Client, ask: Callable[[Pipeline], object], *, raise_on_error: bool = True
) -> list[Any]:
    """The replies to the commands that `ask` queues, which must only read.

    A full Redis queues no commands, not even ones that read, because it cannot know what a
    transaction needs. It answers them outside of one, so other commands may come in between.
    """
    try:
        return _replies(client, ask, raise_on_error, transaction=True)
    except redis.OutOfMemoryError:
        return _replies(client, ask, raise_on_error, transaction=False)


def _replies(
    client: Client, ask: Callable[[Pipeline], object], raise_on_error: bool, *, transaction: bool
) -> list[Any]:
    with client.pipeline(transaction=transaction) as reads:
        ask(reads)
        return reads.execute(raise_on_error=raise_on_error)
