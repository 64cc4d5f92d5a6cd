"""Reads published states downstream: the latest of a symbol, all as they arrive, and freshness.

    state = latest_state(client, "BTCUSDT")

    passing = (redis.ConnectionError, redis.TimeoutError)  # retried
    for state in StateReader(client, group="sizing", consumer="host-1", passing=passing):
        ...

Both take `partitions=16`, if the workers have so many, and find those of a symbol or read all.

You bring the redis client, for a Redis Cluster a `redis.RedisCluster`: with or without
`decode_responses`, RESP2 or RESP3. One that decodes should have `encoding_errors="replace"`, or it
fails on bytes of another program that are not text.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, Protocol

from marketstate.schemas.group_streams import GroupStreams, StreamClient, text_of
from marketstate.schemas.interval import interval_ms, state_step_ms
from marketstate.schemas.market_state import (
    MarketStateRecord,
    UnknownRecord,
    UnknownSchema,
    decode_market_state,
    decode_record,
    own_record,
    record_key,
)
from marketstate.schemas.partitions import partition_key, partition_of, partition_prefix

OUTPUT_PREFIX: Final = "quantum:marketstate:"
OUTPUT_STREAM: Final = "quantum:stream:marketstate"

RETRY_S: Final = 0.5


class HashClient(Protocol):
    """What `latest_state` needs of a client; `redis.Redis` has it."""

    def pipeline(self, transaction: Any = ...) -> Any: ...


def latest_state(
    client: HashClient, symbol: str, prefix: str = OUTPUT_PREFIX, *, partitions: int | None = None
) -> MarketStateRecord | None:
    """The state published last; None if there is none or it has expired.

    `partitions`: how many the workers have. Asks Redis once. Raises UnknownRecord, which names the
    key, if the hash of the symbol has no record or none that can be read, and UnknownSchema for a
    record of another version.
    """
    prefix = partition_prefix(
        prefix, None if partitions is None else partition_of(symbol, partitions)
    )
    of_hash, of_record = f"{prefix}{symbol}", record_key(prefix, symbol)
    with client.pipeline(transaction=True) as reads:
        reads.hgetall(of_hash)
        reads.get(of_record)
        fields, encoded = reads.execute()
    key, own = of_record, own_record(fields)
    if own is not None:
        key, encoded = of_hash, own
    if encoded is not None:
        try:
            return decode_record(encoded)
        except UnknownRecord as error:
            raise type(error)(f"{key}: {error}") from error
    if fields:
        raise UnknownRecord(
            f"{of_hash} has no record at {of_record}: another program wrote it; stop that program"
        )
    return None


def is_stale(record: MarketStateRecord, now_ms: float, publish_interval_ms: int = 60_000) -> bool:
    """Whether more than one state is overdue since `record`; a single one may be on its way.

    States are one publish interval apart, and each needs a candle. A state as far in the future is
    not fresh either: a clock is wrong.
    """
    step_ms = state_step_ms(interval_ms(record.interval) or 1, publish_interval_ms)
    return abs(now_ms - record.close_time_ms) > 2 * step_ms


class StateReader:
    """Iterates over the output stream as one consumer of a group, endlessly.

    With `partitions`, it reads the output streams of all of them as one: the states of a symbol
    keep their order.

    An entry is acknowledged when the loop body asks for the next one. If the body raises or
    breaks, or the process dies, the entry is delivered first next time; so a state may be delivered
    twice (compare `close_time_ms`), but none is skipped. Therefore `consumer` must stay the same
    across restarts, and two running readers of a group must not share one. The consumers of a
    group split its states between them: to read all states, use your own group.

    If the group does not exist, it is created at the end of the stream, or at its beginning with
    `start="0"`. If the group is lost later, it is created again at this reader's position.

    Errors in `passing` are retried; others are raised, and you may iterate again.

    An entry without a record that can be read comes from another program. It is counted in
    `unknown`, acknowledged, and skipped; with `on_unknown="raise"`, UnknownRecord names its id.
    A record of another schema version raises UnknownSchema and stays pending: it is a state, and
    the version of schemas that matches the worker can read it.
    """

    def __init__(
        self,
        client: StreamClient,
        *,
        group: str,
        consumer: str,
        stream: str = OUTPUT_STREAM,
        partitions: int | None = None,
        start: str = "$",
        passing: tuple[type[Exception], ...] = (),
        on_unknown: Literal["skip", "raise"] = "skip",
        count: int = 100,
        block_ms: int = 1_000,
    ) -> None:
        """`passing` are transient errors: `(redis.ConnectionError, redis.TimeoutError)`. `count`
        is how many entries of a stream are taken at once. `block_ms` is how long a read waits; it
        must be below the client's socket timeout. `stream` is its name without a tag.
        """
        every = [None] if partitions is None else range(partitions)
        self._streams = GroupStreams(
            client,
            [partition_key(stream, partition) for partition in every],
            group=group,
            consumer=consumer,
            start=start,
            passing=passing,
            count=count,
            block_ms=block_ms,
        )
        self._passing = passing
        self._raises_unknown = on_unknown == "raise"
        self._stopped = False
        self.trimmed = 0
        """Entries that were trimmed from the stream after this consumer had taken them."""
        self.unknown = 0
        """Entries without a record that can be read: another program wrote them."""
        self.last_unknown_id = ""

    def stop(self) -> None:
        """End the iteration for good: after the current body, which is acknowledged, or the wait.

        You may call it from a signal handler or another thread.
        """
        self._stopped = True

    def __iter__(self) -> Iterator[MarketStateRecord]:
        while not self._stopped:
            try:
                entries = self._streams.fetch()
            except self._passing:
                time.sleep(RETRY_S)
                continue
            for stream, entry_id, fields in entries:
                if not fields:
                    self.trimmed += 1
                elif (record := self._record(stream, entry_id, fields)) is not None:
                    yield record
                self._acknowledge(stream, entry_id)
                if self._stopped:
                    return

    def _record(
        self, stream: str, entry_id: Any, fields: Mapping[Any, Any]
    ) -> MarketStateRecord | None:
        """None for an entry to skip."""
        try:
            return decode_market_state(fields)
        except UnknownRecord as error:
            text = f"entry {text_of(entry_id)} of {stream}: {error}"
            if isinstance(error, UnknownSchema):
                raise UnknownSchema(text) from error
            self.unknown += 1
            self.last_unknown_id = text_of(entry_id)
            if not self._raises_unknown:
                return None
            self._acknowledge(stream, entry_id)  # or it would come first after every restart
            raise UnknownRecord(text) from error

    def _acknowledge(self, stream: str, entry_id: Any) -> None:
        """Retries as often as needed: acknowledging an entry twice is harmless."""
        while True:
            try:
                self._streams.acknowledge(stream, entry_id)
                return
            except self._passing:
                if self._stopped:
                    return
                time.sleep(RETRY_S)
