"""Reads published states downstream: the latest of a symbol, all as they arrive, and freshness.

    state = latest_state(client, "BTCUSDT")
    for state in StateReader(client, group="sizing", consumer="host-1"):
        ...

All take `partitions=16`, if the workers have so many, and find those of a symbol or read all; and
`interval="5m"` for the states of a longer interval.
`schemas/aio.py` has the same for asyncio.

You bring the redis client, for a Redis Cluster a `redis.RedisCluster`: with or without
`decode_responses`, RESP2 or RESP3. One that decodes should have `encoding_errors="replace"`, or it
fails on bytes of another program that are not text.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from marketstate.schemas.delivery import OUTPUT_STREAM, Delivery
from marketstate.schemas.interval import interval_ms, state_step_ms
from marketstate.schemas.latest import OUTPUT_PREFIX, Latest, OnUnknown
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.schemas.steps import Command, Wait, next_step

__all__ = [
    "OUTPUT_PREFIX",
    "OUTPUT_STREAM",
    "StateReader",
    "is_stale",
    "latest_state",
    "latest_states",
]


class HashClient(Protocol):
    """What `latest_state` needs of a client; `redis.Redis` has it."""

    def pipeline(self, transaction: Any = ...) -> Any: ...


def latest_state(
    client: HashClient,
    symbol: str,
    prefix: str = OUTPUT_PREFIX,
    *,
    partitions: int | None = None,
    interval: str | None = None,
) -> MarketStateRecord | None:
    """The state published last; None if there is none or it has expired.

    `partitions`: how many the workers have. `interval`: a longer one of theirs, instead of that of
    the candles. Asks Redis once. Raises UnknownRecord, which names the key, if the hash of the
    symbol has no record or none that can be read, and UnknownSchema for a record of another
    version.
    """
    found = latest_states(client, [symbol], prefix, partitions=partitions, interval=interval)
    return found[symbol]


def latest_states(
    client: HashClient,
    symbols: Iterable[str],
    prefix: str = OUTPUT_PREFIX,
    *,
    partitions: int | None = None,
    interval: str | None = None,
    on_unknown: OnUnknown = "raise",
) -> dict[str, MarketStateRecord | None]:
    """As `latest_state`, of many symbols in one round trip, in a cluster one to each node.

    With `on_unknown="skip"`, a symbol whose state cannot be read has None, and costs no other.
    """
    wanted = Latest(symbols, prefix, partitions, interval)
    with client.pipeline(transaction=False) as reads:
        wanted.put_to(reads)
        return wanted.states(reads.execute(raise_on_error=False), on_unknown)


def is_stale(record: MarketStateRecord, now_ms: float, publish_interval_ms: int = 60_000) -> bool:
    """Whether more than one state is overdue since `record`; a single one may be on its way.

    States are one publish interval apart, and each needs a candle. A state as far in the future is
    not fresh either: a clock is wrong.
    """
    step_ms = state_step_ms(interval_ms(record.interval) or 1, publish_interval_ms)
    return abs(now_ms - record.close_time_ms) > 2 * step_ms


class StateReader(Delivery):
    __doc__ = Delivery.__doc__

    def __iter__(self) -> Iterator[MarketStateRecord]:
        steps = self._steps()
        reply, error = None, None
        while (step := next_step(steps, reply, error)) is not None:
            reply, error = None, None
            if isinstance(step, MarketStateRecord):
                yield step
            elif isinstance(step, Wait):
                time.sleep(step.seconds)
            else:
                reply, error = self._carry_out(step)

    def _carry_out(self, step: Command) -> tuple[Any, Exception | None]:
        try:
            return step.of(self._client), None
        except Exception as error:
            return None, error
