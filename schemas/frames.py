"""Frames of pandas or polars: of history files, recordings and live streams.

    frame = of_history("states.parquet")                # a pandas.DataFrame
    frame = of_stream(client, last=1_000, library="polars")

Times are timestamps in ms in UTC, texts such as `symbol` and `regime` are categories, and the
columns of states have the names of `schemas/history.py`. In pandas, `close_time` is the index. The
libraries are those of the extra `frames`, imported when they are used; ExtraMissing names them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, dropwhile, islice
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol, get_args

from marketstate.schemas.arrow_tables import (
    ExtraMissing,
    needed,
    schema_of,
    table_of_candles,
    table_of_states,
)
from marketstate.schemas.candle import Candle, CandleRejected, decode_candle
from marketstate.schemas.delivery import OUTPUT_STREAM
from marketstate.schemas.entry_id import entry_time_ms, parse_entry_id
from marketstate.schemas.group_streams import text_of
from marketstate.schemas.history import COLUMNS
from marketstate.schemas.latest import OnUnknown, refuse_text
from marketstate.schemas.longer import interval_stream
from marketstate.schemas.market_state import (
    MarketStateRecord,
    RegimeProbs,
    UnknownRecord,
    decode_market_state,
    decode_record,
)
from marketstate.schemas.partitions import partition_keys
from marketstate.schemas.recording import RecordingError
from marketstate.schemas.recording_lines import read_entries, read_header, unpacked

__all__ = ["ExtraMissing", "of_history", "of_recording", "of_states", "of_stream"]

Library = Literal["pandas", "polars"]

_Entry = tuple[str, str, Any]
"""Where it is, its id and its fields."""

_ENTRIES_AT_ONCE: Final = 1_000
_TIME: Final = "close_time"


class RangeClient(Protocol):
    """What `of_stream` needs of a client; those of redis-py have it."""

    def xrevrange(self, name: Any, /, *, max: Any = ..., count: int | None = ...) -> Any: ...


def of_history(
    path: str | Path,
    library: Library = "pandas",
    *,
    symbols: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
) -> Any:
    """A file of `marketstate history`, in any of its formats, in the order of its rows.

    Of Parquet, what is not among `symbols` or `columns` is not read. A file of records (`.jsonl`)
    has no column `theta`. Raises ValueError for another file.
    """
    refuse_text(symbols)
    name = Path(path).name
    wanted = None if columns is None else list(dict.fromkeys((*columns, _TIME)))
    if name.endswith((".jsonl", ".jsonl.gz")):
        return _frame(_selected(table_of_states(_records_in(Path(path))), symbols, wanted), library)
    for suffix, read in _READ.items():
        if name.endswith(suffix):
            return _frame(read(str(path), symbols, wanted), library)
    raise ValueError(
        f"{path} is no file of marketstate history: its name must end in "
        f"{', '.join((*_READ, '.jsonl.gz'))}"
    )


def of_recording(
    path: str | Path, library: Library = "pandas", *, on_unknown: OnUnknown = "raise"
) -> Any:
    """A file of `marketstate record`: the states of an output stream, or the closed candles of an
    input stream, in the order of the file.

    An entry that cannot be read raises RecordingError, with file and line, or is left out ("skip").
    """
    with Path(path).open("rb") as raw, unpacked(raw) as file:
        try:
            partitions = read_header(file).partitions
        except RecordingError as error:
            raise RecordingError(f"{path}, line 1: {error}; see of_history, too") from None
        bad = _refuse if on_unknown == "raise" else _skip
        fields: Iterator[_Entry] = (
            (f"{path}, line {read.line}", read.entry.id, _as_mapping(read.entry.fields))
            for read in read_entries(file, str(path), partitions, bad)
        )
        if on_unknown == "skip":
            fields = dropwhile(_is_foreign, fields)
        first = list(islice(fields, 1))
        fields = chain(first, fields)
        if first and _is_state(first[0]):
            return _frame(table_of_states(_states(fields, on_unknown)), library)
        return _frame(table_of_candles(_candles(fields, on_unknown)), library)


def of_stream(
    client: RangeClient,
    last: int = 1_000,
    library: Library = "pandas",
    *,
    symbols: Sequence[str] | None = None,
    stream: str = OUTPUT_STREAM,
    partitions: int | None = None,
    interval: str | None = None,
    on_unknown: OnUnknown = "raise",
) -> Any:
    """The last states of the output stream, with `symbols` theirs among those, oldest first.

    `last` counts entries of the stream, of all `partitions` together. `interval`: a longer one of
    the workers, instead of that of the candles. An entry that has no record that can be read raises
    UnknownRecord with its id, or is left out ("skip"). `stream` is its name without a tag.
    """
    refuse_text(symbols)
    stream = interval_stream(stream, interval) if interval else stream
    found = [
        (parse_entry_id(text_of(entry_id)), f"entry {text_of(entry_id)} of {name}", fields)
        for name in partition_keys(stream, partitions)
        for entry_id, fields in _newest(client, name, last)
    ]
    found.sort(key=lambda entry: entry[0])
    entries = ((where, "", fields) for _, where, fields in found[-last:])
    records = (
        record
        for record in _states(entries, on_unknown)
        if symbols is None or record.symbol in symbols
    )
    return of_states(records, library)


def of_states(records: Iterable[MarketStateRecord], library: Library = "pandas") -> Any:
    """States that you have, such as those of a reader."""
    return _frame(table_of_states(records), library)


def _frame(table: Any, library: Library) -> Any:
    if library not in get_args(Library):
        raise ValueError(f"library {library!r} is none of {', '.join(get_args(Library))}")
    if library == "polars":
        # Older versions, such as 1.20, warn of batches that have different dictionaries.
        return needed("polars").from_arrow(table.unify_dictionaries())
    needed("pandas")
    frame = table.to_pandas()
    if "regime" in frame:
        known = RegimeProbs.__struct_fields__
        others = [each for each in frame["regime"].cat.categories if each not in known]
        frame["regime"] = frame["regime"].cat.set_categories([*known, *others])
    return frame.set_index(_TIME)


def _selected(table: Any, symbols: Sequence[str] | None, columns: Sequence[str] | None) -> Any:
    if symbols is not None:
        pa = needed("pyarrow")
        names = table["symbol"].cast(pa.string())
        table = table.filter(needed("pyarrow.compute").is_in(names, pa.array(symbols, pa.string())))
    return table if columns is None else table.select(columns)


def _from_parquet(path: str, symbols: Sequence[str] | None, columns: Sequence[str] | None) -> Any:
    filters = None if symbols is None else [("symbol", "in", list(symbols))]
    parquet = needed("pyarrow.parquet")
    return parquet.read_table(path, columns=columns, filters=filters)


def _from_arrow(path: str, symbols: Sequence[str] | None, columns: Sequence[str] | None) -> Any:
    with needed("pyarrow").memory_map(path) as file:
        table = needed("pyarrow.ipc").open_file(file).read_all()
        return _selected(table, symbols, columns)


def _from_csv(path: str, symbols: Sequence[str] | None, columns: Sequence[str] | None) -> Any:
    pa, csv, schema = needed("pyarrow"), needed("pyarrow.csv"), schema_of(COLUMNS)
    types = {field.name: field.type for field in schema} | {_TIME: pa.int64()}
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types))
    return _selected(table.cast(schema), symbols, columns)


_READ: Final = {
    ".parquet": _from_parquet,
    ".arrow": _from_arrow,
    ".csv.gz": _from_csv,
    ".csv": _from_csv,
}


def _records_in(path: Path) -> Iterator[MarketStateRecord]:
    with path.open("rb") as raw, unpacked(raw) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield decode_record(line)
            except UnknownRecord as error:
                raise type(error)(f"{path}, line {number}: {error}") from error


def _states(entries: Iterable[_Entry], on_unknown: OnUnknown) -> Iterator[MarketStateRecord]:
    for where, _, fields in entries:
        try:
            yield decode_market_state(fields)
        except UnknownRecord as error:
            if on_unknown == "raise":
                raise type(error)(f"{where}: {error}") from error


def _candles(entries: Iterable[_Entry], on_unknown: OnUnknown) -> Iterator[Candle]:
    for where, entry_id, fields in entries:
        try:
            candle = decode_candle(fields, entry_time_ms(entry_id))
        except CandleRejected as error:
            if on_unknown == "raise":
                raise RecordingError(f"{where}: {error}") from error
            continue
        if candle.is_closed:
            yield candle


def _is_state(entry: _Entry) -> bool:
    return b"regime" in entry[2]


def _is_foreign(entry: _Entry) -> bool:
    """Neither a state nor a candle: it does not say which of them the others are."""
    _, entry_id, fields = entry
    if _is_state(entry):
        return False
    try:
        decode_candle(fields, entry_time_ms(entry_id))
    except CandleRejected:
        return True
    return False


def _newest(client: RangeClient, stream: str, last: int) -> Iterator[tuple[Any, Any]]:
    """The newest first."""
    end, missing = "+", last
    while missing > 0:
        entries = client.xrevrange(stream, max=end, count=min(missing, _ENTRIES_AT_ONCE))
        yield from entries
        if len(entries) < min(missing, _ENTRIES_AT_ONCE):
            return
        end, missing = f"({text_of(entries[-1][0])}", missing - len(entries)


def _as_mapping(fields: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _refuse(where: str, what: str) -> NoReturn:
    raise RecordingError(f"{where}: {what}")


def _skip(where: str, what: str) -> None:
    """The caller has asked for it."""
