"""Writes a history as a table of typed columns: Parquet, or Arrow's own format.

The same rows give the same bytes, with the same version of pyarrow.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from marketstate.schemas.arrow_tables import schema_of
from marketstate.schemas.history import COLUMNS, METADATA_KEY, About
from marketstate.worker.commands.history.job import Job
from marketstate.worker.commands.history.rows import REASONS
from marketstate.worker.commands.history.whole import Block
from marketstate.worker.commands.regime_words import REGIMES

ROWS_OF_A_GROUP: Final = 131_072
"""Many readers take a group at a time, and pass over those with other symbols or times."""
_COMPRESSION: Final = "zstd"
Texts = dict[str, list[str]]
"""All values of each column of text, in the order of their numbers."""


def write_parquet(path: Path, about: About, texts: Texts, blocks: Iterable[Block]) -> None:
    schema = _schema(about)
    numbers = [column.name for column in COLUMNS if column.kind != "text"]
    with pyarrow.parquet.ParquetWriter(
        path,
        schema,
        compression=_COMPRESSION,
        use_dictionary=[column.name for column in COLUMNS if column.kind == "text"],
        column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT"),
    ) as writer:
        for table in _tables(schema, texts, blocks):
            writer.write_table(table, row_group_size=ROWS_OF_A_GROUP)


def write_arrow(path: Path, about: About, texts: Texts, blocks: Iterable[Block]) -> None:
    schema = _schema(about)
    options = pa.ipc.IpcWriteOptions(compression=_COMPRESSION)
    with pa.ipc.new_file(path, schema, options=options) as writer:
        for table in _tables(schema, texts, blocks):
            writer.write_table(table.combine_chunks(), max_chunksize=ROWS_OF_A_GROUP)


def texts_of(job: Job, symbols: list[str]) -> Texts:
    return {
        "theta": [run.theta for run in job.runs],
        "theta_hash": [run.settings.theta_hash for run in job.runs],
        "source": [job.runs[0].settings.source],
        "interval": [*job.intervals],
        "symbol": symbols,
        "regime": [*REGIMES],
        "reason": [*REASONS],
    }


def _schema(about: About) -> Any:
    return schema_of(COLUMNS, {METADATA_KEY: msgspec.json.encode(about)})


def _tables(schema: Any, texts: Texts, blocks: Iterable[Block]) -> Iterator[Any]:
    """Each with the rows of a group; the last one may have fewer."""
    dictionaries = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    number_of = {symbol: i for i, symbol in enumerate(texts["symbol"])}
    held: list[Any] = []
    count = 0
    for block in blocks:
        held.append(_batch(schema, dictionaries, number_of[block.symbol], block))
        count += len(block.rows)
        while count >= ROWS_OF_A_GROUP:
            table = pa.Table.from_batches(held, schema)
            yield table.slice(0, ROWS_OF_A_GROUP)
            held = table.slice(ROWS_OF_A_GROUP).to_batches()
            count -= ROWS_OF_A_GROUP
    if held:
        yield pa.Table.from_batches(held, schema)


def _batch(schema: Any, dictionaries: dict[str, Any], symbol: int, block: Block) -> Any:
    rows = block.rows
    same = {"theta": block.run, "theta_hash": block.run, "source": 0, "symbol": symbol}
    columns = []
    for column in COLUMNS:
        name = column.name
        if column.kind == "text":
            at = rows[name] if name not in same else np.full(len(rows), same[name])
            indices = pa.array(at.astype(np.int32))
            columns.append(pa.DictionaryArray.from_arrays(indices, dictionaries[name]))
        else:
            kind = schema.field(name).type
            columns.append(pa.array(np.ascontiguousarray(rows[name])).cast(kind))
    return pa.record_batch(columns, schema=schema)
