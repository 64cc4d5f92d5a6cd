"""States and candles as Arrow tables: the types of their columns, in files and in frames.

The columns of states are those of `schemas/history.py`. pyarrow is imported when it is used.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, Final

from marketstate.schemas.candle import Candle
from marketstate.schemas.history import COLUMNS, UNIT_KEY, Column
from marketstate.schemas.market_state import MarketStateRecord

OF_STATES: Final = tuple(column for column in COLUMNS if column.name != "theta")
"""Of records, which know the hash of their theta, but not its name."""
OF_CANDLES: Final = (
    Column("interval", "text"),
    Column("symbol", "text"),
    Column("close_time", "time", "ms since 1970, UTC"),
    Column("open_time", "time", "ms since 1970, UTC"),
    *(Column(name, "number", "quote currency") for name in ("open", "high", "low", "close")),
    Column("volume", "number", "as published"),
)
"""All but `symbol`, `close` and `close_time` may be missing in a row."""

_ROWS_AT_ONCE: Final = 65_536


class ExtraMissing(ModuleNotFoundError):
    """A library is not installed; the text names the extra that has it."""


def needed(module: str) -> Any:
    """A library of the extra `frames`. Raises ExtraMissing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ExtraMissing(
            f"{error.name} is not installed: it is in the extra `frames`, "
            f"pip install 'marketstate-worker[frames]', or pip install {error.name}",
            name=error.name,
        ) from None


def schema_of(
    columns: Sequence[Column],
    metadata: Mapping[str, bytes] | None = None,
    *,
    may_be_missing: bool = False,
) -> Any:
    """Text is in dictionaries; times are timestamps in ms, UTC."""
    pa = needed("pyarrow")
    types = {
        "text": pa.dictionary(pa.int32(), pa.string()),
        "time": pa.timestamp("ms", tz="UTC"),
        "number": pa.float64(),
        "count": pa.int64(),
    }
    fields = []
    for each in columns:
        unit = {UNIT_KEY: each.unit} if each.unit else None
        fields.append(pa.field(each.name, types[each.kind], may_be_missing, unit))
    return pa.schema(fields, metadata)


def table_of_states(records: Iterable[MarketStateRecord]) -> Any:
    return _table(map(_values_of, records), schema_of(OF_STATES))


def table_of_candles(candles: Iterable[Candle]) -> Any:
    rows = (tuple(getattr(candle, each.name) for each in OF_CANDLES) for candle in candles)
    return _table(rows, schema_of(OF_CANDLES, may_be_missing=True))


def _table(rows: Iterable[tuple[Any, ...]], schema: Any) -> Any:
    pa = needed("pyarrow")
    rows, batches = iter(rows), []
    # As lists, rows take several times the memory.
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        values = zip(schema, zip(*some, strict=True), strict=True)
        arrays = [pa.array(each, field.type) for field, each in values]
        batches.append(pa.record_batch(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _values_of(record: MarketStateRecord) -> tuple[Any, ...]:
    """In the order of OF_STATES."""
    return (
        *(record.interval, record.symbol, record.close_time_ms, record.close),
        *(record.sigma, record.mu, record.ts),
        *(record.regime_probs.trend, record.regime_probs.mr, record.regime_probs.chop),
        *(record.features.dp, record.features.vr, record.features.spike_proxy),
        *(record.regime, record.reason, record.buffer_size, record.missing),
        *(record.source, record.theta_hash),
    )
