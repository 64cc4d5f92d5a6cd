"""Sources of the states to plot: the output stream, recordings, or candle files.

Lines and entries that cannot be read are left out and reported; the rest is plotted.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import redis

from schemas.candle import Candle, CandleRejected, decode_candle
from schemas.entry_id import entry_time_ms
from schemas.interval import interval_ms
from schemas.market_state import MarketStateRecord
from worker.commands.markets import StreamEntry, entries_after, readable
from worker.commands.plot.series import Series, of_candles, of_records
from worker.errors import ConfigurationError
from worker.files.bad_lines import Skipped
from worker.files.candles import SUFFIXES, each_file, read_by_time
from worker.files.recordings import read_recording
from worker.settings import Settings
from worker.store import connection


def from_stream(symbols: Sequence[str], settings: Settings, last: int) -> dict[str, Series]:
    if not symbols:
        raise ConfigurationError("no symbols given; use marketstate plot SYMBOL... --out FILE")
    skipped = Skipped()
    try:
        with connection.open_client(settings, block_s=0) as client:
            entries = entries_after(client, settings.output_stream, b"0-0")
            records = _records(entries, settings.output_stream, skipped)
            wanted = (record for record in records if record.symbol in symbols)
            found = of_records(wanted, last)
    except redis.RedisError as error:
        raise connection.unusable(error, settings) from error
    _tell(skipped)
    return found


def from_files(files: Iterable[Path], settings: Settings, last: int) -> dict[str, Series]:
    found: dict[str, Series] = {}
    candle_files = []
    for path in each_file(files):
        if path.name.endswith(SUFFIXES):
            candle_files.append(path)
        else:
            found |= _from_recording(path, settings, last)
    skipped = Skipped()
    candles = (read.candle for read in read_by_time(candle_files, skipped))
    found |= of_candles(candles, settings.theta, last)
    _tell(skipped)
    return found


def _tell(skipped: Skipped) -> None:
    for line in skipped.report("lines or entries left out"):
        print(line, file=sys.stderr)


def _from_recording(path: Path, settings: Settings, last: int) -> dict[str, Series]:
    """States if the first entry has a regime, else candles."""
    skipped = Skipped()
    entries = _recorded(path, skipped)
    first = list(islice(entries, 1))
    entries = chain(first, entries)
    if first and b"regime" in first[0][1]:
        found = of_records(_records(entries, str(path), skipped), last)
    else:
        found = of_candles(_candles(entries, str(path), settings, skipped), settings.theta, last)
    _tell(skipped)
    return found


def _recorded(path: Path, skipped: Skipped) -> Iterator[StreamEntry]:
    for entry, _ in read_recording(path, skipped):
        yield entry.id.encode(), dict(zip(entry.fields[::2], entry.fields[1::2], strict=True))


def _records(
    entries: Iterable[StreamEntry], where: str, skipped: Skipped
) -> Iterator[MarketStateRecord]:
    for entry_id, record in readable(entries):
        if record is None:
            skipped(f"{where}, entry {entry_id.decode()}", "not a record of this version")
        else:
            yield record


def _candles(
    entries: Iterable[StreamEntry], where: str, settings: Settings, skipped: Skipped
) -> Iterator[Candle]:
    """The candles that a worker with these settings would take: those of its interval."""
    for entry_id, fields in entries:
        try:
            candle = decode_candle(fields, entry_time_ms(entry_id), settings.max_ahead_ms)
        except CandleRejected as error:
            skipped(f"{where}, entry {entry_id.decode()}", str(error))
            continue
        ours = settings.candle_interval_ms
        if candle.interval is None or interval_ms(candle.interval) == ours:
            yield candle
