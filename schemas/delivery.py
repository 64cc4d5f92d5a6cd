"""How published states are handed out one by one, and acknowledged when they have been used.

`StateReader` of `schemas/reader.py` and that of `schemas/aio.py` share it. These are the rules
alone, see `schemas/steps.py`.
"""

from collections.abc import Generator, Mapping
from typing import Any, Final, Protocol

from marketstate.schemas.group_streams import GroupStreams, text_of
from marketstate.schemas.latest import OnUnknown
from marketstate.schemas.longer import interval_stream
from marketstate.schemas.market_state import (
    MarketStateRecord,
    UnknownRecord,
    UnknownSchema,
    decode_market_state,
)
from marketstate.schemas.partitions import partition_keys
from marketstate.schemas.passing import passes
from marketstate.schemas.steps import Command, Steps, Wait

OUTPUT_STREAM: Final = "quantum:stream:marketstate"


class StreamClient(Protocol):
    """What a `StateReader` needs of a client; those of redis-py have it.

    One for a Redis Cluster has `get_node_from_key`, and `execute_command` with `target_nodes`, too.
    """

    def xgroup_create(
        self, name: Any, groupname: Any, id: Any = ..., mkstream: bool = ...
    ) -> Any: ...

    def xreadgroup(
        self,
        groupname: Any,
        consumername: Any,
        streams: Any,
        count: int | None = ...,
        block: int | None = ...,
    ) -> Any: ...

    def xack(self, name: Any, groupname: Any, /, *ids: Any) -> Any: ...

    def xrevrange(self, name: Any, /, *, count: int | None = ...) -> Any: ...


class Delivery:
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

    While Redis is away, the reader tries again, and says so once in the log; other errors are
    raised, and you may iterate again. In a cluster, the states of other nodes arrive meanwhile.

    An entry without a record that can be read comes from another program. It is counted in
    `unknown`, acknowledged, and skipped; with `on_unknown="raise"`, UnknownRecord names its id.
    A record of another schema version raises UnknownSchema and stays pending: it is a state, and
    the version of marketstate-worker that matches the worker can read it.
    """

    def __init__(
        self,
        client: StreamClient,
        *,
        group: str,
        consumer: str,
        stream: str = OUTPUT_STREAM,
        partitions: int | None = None,
        interval: str | None = None,
        start: str = "$",
        passing: tuple[type[Exception], ...] | None = None,
        on_unknown: OnUnknown = "skip",
        count: int = 100,
        block_ms: int = 1_000,
    ) -> None:
        """`passing` are the errors after which to try again; default: lost connections, time-outs,
        and what else a Redis says that is away for a while. `count` is how many entries of a stream
        are taken at once. `block_ms` is how long a read waits: from 1 up, and at most half the
        client's socket time-out. `stream` is its name without a tag and interval; `interval` is a
        longer one of the workers, instead of that of the candles.
        """
        stream = interval_stream(stream, interval) if interval else stream
        if block_ms < 1:
            raise ValueError(f"block_ms is {block_ms}, but a read waits at least 1 ms")
        self._client = client
        self._streams = GroupStreams(
            partition_keys(stream, partitions),
            group=group,
            consumer=consumer,
            start=start,
            passes=passes if passing is None else lambda error: isinstance(error, passing),
            count=count,
            block_ms=_shorter_than_time_out(client, block_ms),
            # Redis Cluster refuses a command for several partitions, even if they are on one node.
            apart=hasattr(client, "get_node_from_key"),
        )
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

    def _steps(self) -> Generator[Command | Wait | MarketStateRecord, Any, None]:
        while not self._stopped:
            for stream, entry_id, fields in (yield from self._streams.fetch()):
                if self._streams.is_owing(stream):
                    continue
                if not fields:
                    self.trimmed += 1
                elif (record := (yield from self._record(stream, entry_id, fields))) is not None:
                    yield record
                yield from self._streams.acknowledge(stream, entry_id)
                if self._stopped:
                    return

    def _record(
        self, stream: str, entry_id: Any, fields: Mapping[Any, Any]
    ) -> Steps[MarketStateRecord | None]:
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
            # Or it would come first after every restart.
            yield from self._streams.acknowledge(stream, entry_id)
            raise UnknownRecord(text) from error


def _shorter_than_time_out(client: Any, block_ms: int) -> int:
    """A default client of redis-py 8 has a socket time-out of 5 s: a read that waits longer would
    end in an error, or be repeated without a word.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return block_ms
    # It connects when it is used; only this object knows the default of its version.
    time_out_s = pool.connection_class(**pool.connection_kwargs).socket_timeout
    return min(block_ms, max(1, int(time_out_s * 500))) if time_out_s else block_ms
