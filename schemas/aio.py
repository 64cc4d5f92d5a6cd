"""`schemas/reader.py` for asyncio: the same functions and promises, with a `redis.asyncio` client.

    state = await latest_state(client, "BTCUSDT")
    async for state in StateReader(client, group="sizing", consumer="host-1"):
        ...

For a Redis Cluster, the client is a `redis.asyncio.RedisCluster`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from marketstate.schemas.delivery import Delivery
from marketstate.schemas.latest import OUTPUT_PREFIX, Latest, OnUnknown
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.schemas.reader import HashClient
from marketstate.schemas.steps import Command, Wait, next_step


async def latest_state(
    client: HashClient,
    symbol: str,
    prefix: str = OUTPUT_PREFIX,
    *,
    partitions: int | None = None,
    interval: str | None = None,
) -> MarketStateRecord | None:
    """See `latest_state` in `schemas/reader.py`."""
    of_one = latest_states(client, [symbol], prefix, partitions=partitions, interval=interval)
    return (await of_one)[symbol]


async def latest_states(
    client: HashClient,
    symbols: Iterable[str],
    prefix: str = OUTPUT_PREFIX,
    *,
    partitions: int | None = None,
    interval: str | None = None,
    on_unknown: OnUnknown = "raise",
) -> dict[str, MarketStateRecord | None]:
    """See `latest_states` in `schemas/reader.py`."""
    wanted = Latest(symbols, prefix, partitions, interval)
    with _cancellable():
        async with client.pipeline(transaction=False) as reads:
            wanted.put_to(reads)
            replies = await reads.execute(raise_on_error=False)
    return wanted.states(replies, on_unknown)


class StateReader(Delivery):
    __doc__ = Delivery.__doc__

    async def __aiter__(self) -> AsyncIterator[MarketStateRecord]:
        steps = self._steps()
        reply, error = None, None
        while (step := next_step(steps, reply, error)) is not None:
            reply, error = None, None
            if isinstance(step, MarketStateRecord):
                yield step
            elif isinstance(step, Wait):
                await asyncio.sleep(step.seconds)
            else:
                reply, error = await self._carry_out(step)

    async def _carry_out(self, step: Command) -> tuple[Any, Exception | None]:
        try:
            with _cancellable():
                return await step.of(self._client), None
        except Exception as error:
            return None, error


@contextmanager
def _cancellable() -> Iterator[None]:
    """While it connects, redis-py 8 may lose that its caller was cancelled."""
    task, error = asyncio.current_task(), None
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception as raised:
        error = raised
    if task and task.cancelling() > before:
        raise asyncio.CancelledError from error
    if error:
        raise error
