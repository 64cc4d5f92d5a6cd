"""Where the latest state of a symbol is, and what is said if there is none that can be read.

`schemas/reader.py` and `schemas/aio.py` share it: all but the asking.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from marketstate.schemas.longer import interval_prefix
from marketstate.schemas.market_state import (
    MarketStateRecord,
    UnknownRecord,
    decode_record,
    own_record,
    record_key,
)
from marketstate.schemas.partitions import partition_of, partition_prefix

OUTPUT_PREFIX: Final = "quantum:marketstate:"

OnUnknown = Literal["skip", "raise"]


class Latest:
    """The question for the latest state of each of `symbols`, and what the answer says."""

    def __init__(
        self,
        symbols: Iterable[str],
        prefix: str,
        partitions: int | None,
        interval: str | None = None,
    ) -> None:
        """`partitions`: how many the workers have. `interval`: a longer one of theirs."""
        refuse_text(symbols)
        prefix = interval_prefix(prefix, interval) if interval else prefix
        self.symbols = list(dict.fromkeys(symbols))
        self._places = [_Place(each, prefix, partitions) for each in self.symbols]

    def put_to(self, pipeline: Any) -> None:
        """The commands, for a pipeline without a transaction: in a cluster, there is none for keys
        of several nodes. So a hash may expire, and its record with it, between two of them.
        """
        for place in self._places:
            pipeline.hgetall(place.of_hash)
            pipeline.get(place.of_record)
            pipeline.exists(place.of_hash)

    def states(
        self, replies: Sequence[Any], on_unknown: OnUnknown
    ) -> dict[str, MarketStateRecord | None]:
        """By symbol, in the order asked for. Raises UnknownRecord, which names the key, or with
        "skip" has None there.
        """
        found: dict[str, MarketStateRecord | None] = {}
        of_each = zip(replies[::3], replies[1::3], replies[2::3], strict=True)
        for symbol, place, its_replies in zip(self.symbols, self._places, of_each, strict=True):
            try:
                found[symbol] = place.state(*its_replies)
            except UnknownRecord:
                if on_unknown == "raise":
                    raise
                found[symbol] = None
        return found


def refuse_text(symbols: Iterable[str] | None) -> None:
    """Raises TypeError for a text: each of its letters would be a symbol."""
    if isinstance(symbols, str | bytes):
        raise TypeError(f"symbols is the text {symbols!r}; give a list of them")


class _Place:
    def __init__(self, symbol: str, prefix: str, partitions: int | None) -> None:
        partition = None if partitions is None else partition_of(symbol, partitions)
        prefix = partition_prefix(prefix, partition)
        self.of_hash = f"{prefix}{symbol}"
        self.of_record = record_key(prefix, symbol)

    def state(self, fields: Any, encoded: Any, is_still_there: Any) -> MarketStateRecord | None:
        for key, reply in ((self.of_hash, fields), (self.of_record, encoded)):
            if isinstance(reply, Exception):
                if "WRONGTYPE" not in str(reply):
                    raise reply
                raise UnknownRecord(f"{key} is of another type: another program wrote it")
        key, own = self.of_record, own_record(fields)
        if own is not None:
            key, encoded = self.of_hash, own
        if encoded is not None:
            try:
                return decode_record(encoded)
            except UnknownRecord as error:
                raise type(error)(f"{key}: {error}") from error
        if fields and is_still_there:
            raise UnknownRecord(
                f"{self.of_hash} has no record at {self.of_record}: another program wrote it; "
                "stop that program"
            )
        return None
