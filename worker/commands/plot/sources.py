"""Sources of the states to plot: the output stream, recordings, or candle files.

Lines and entries of recordings that cannot be read are left out and reported; candle files are
read as by every command.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from marketstate.core.theta import minimum_length
from marketstate.schemas.candle import Candle, CandleRejected, decode_candle
from marketstate.schemas.entry_id import entry_time_ms
from marketstate.schemas.interval import length_ms
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.schemas.sequence import Place
from marketstate.worker.commands.markets import entries_from, readable
from marketstate.worker.commands.plot.series import Series, of_candles, of_records
from marketstate.worker.commands.starting_over import StartsOver, gap_in_words, starting_over
from marketstate.worker.engine.group import refuse_another_number_if_seen
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.following import Following, ReadCandle
from marketstate.worker.files.candles.names import each_file, is_candle_file
from marketstate.worker.files.candles.said import Said, refuse_of_recordings
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.recordings import read_recording
from marketstate.worker.settings import Settings
from marketstate.worker.store import connection
from marketstate.worker.store.newest import StreamEntry


def from_stream(symbols: Sequence[str], settings: Settings, last: int | None) -> dict[str, Series]:
    """Those of `symbols`, or without any of all."""
    findings = Findings(skip_bad=True)
    found: dict[str, Series] = {}
    for part in settings.each_partition():
        own = [each for each in symbols if part.has(each)]
        if own or not symbols:
            found |= _from_one_stream(own, part, last, findings)
    _tell(findings)
    return found


def _from_one_stream(
    symbols: Sequence[str], settings: Settings, last: int | None, findings: Findings
) -> dict[str, Series]:
    stream = settings.keys.output_stream
    with connection.reporting(settings), connection.open_client(settings, block_s=0) as client:
        refuse_another_number_if_seen(client, settings)
        records = _records(entries_from(client, stream, b"0-0"), stream, findings)
        wanted = (record for record in records if not symbols or record.symbol in symbols)
        return of_records(wanted, last)


def from_files(
    files: Iterable[Path], said: Said, findings: Findings, settings: Settings, last: int | None
) -> dict[str, Series]:
    """Raises ConfigurationError for files that cannot be combined."""
    every = each_file(files)
    candles = [path for path in every if is_candle_file(path)]
    if not candles:
        refuse_of_recordings(said)
    candle_files = CandleFiles(candles, said)
    recordings = [path for path in every if not is_candle_file(path)]
    found: dict[str, Series] = {}
    for path in recordings:
        _add(_from_recording(path, settings, last), found, path)
    starts_over = starting_over(settings, candle_files.interval)
    read = (each.candle for each in candle_files.read(findings))
    noted = _noting_what_starts_over(read, starts_over, findings)
    calculated = of_candles(noted, settings.theta, last, starts_over)
    _tell(findings)
    _add(calculated, found, "the candle files")
    return found


def a_state_needs(settings: Settings) -> str:
    return f"a state needs {minimum_length(settings.theta)} closes"


def _noting_what_starts_over(
    candles: Iterable[Candle], starts_over: StartsOver, findings: Findings
) -> Iterator[Candle]:
    last_ms: dict[str, int] = {}
    for candle in candles:
        before_ms = last_ms.get(candle.symbol)
        if before_ms is not None and starts_over(before_ms, candle.close_time):
            gap = gap_in_words(candle.symbol, before_ms, candle.close_time)
            findings.notes.append(f"{gap}: the states start over")
        last_ms[candle.symbol] = candle.close_time
        yield candle


def _add(new: dict[str, Series], found: dict[str, Series], source: Path | str) -> None:
    if twice := sorted(new.keys() & found.keys()):
        raise ConfigurationError(
            f"{', '.join(twice)} is in {source} and in an earlier one of the files; read them apart"
        )
    found |= new


def _tell(findings: Findings) -> None:
    for line in findings.report():
        print(line, file=sys.stderr)


def _from_recording(path: Path, settings: Settings, last: int | None) -> dict[str, Series]:
    """States if the first entry has a regime, else candles."""
    findings = Findings(skip_bad=True)
    entries = _recorded(path, findings)
    first = list(islice(entries, 1))
    entries = chain(first, entries)
    if first and b"regime" in first[0][1]:
        found = of_records(_records(entries, str(path), findings), last)
    else:
        candles = _candles(entries, str(path), settings, findings)
        starts_over = starting_over(settings, settings.candle_interval)
        candles = _noting_what_starts_over(candles, starts_over, findings)
        found = of_candles(candles, settings.theta, last, starts_over)
    _tell(findings)
    return found


def _recorded(path: Path, findings: Findings) -> Iterator[StreamEntry]:
    for entry, _ in read_recording(path, findings.bad):
        yield entry.id.encode(), dict(zip(entry.fields[::2], entry.fields[1::2], strict=True))


def _records(
    entries: Iterable[StreamEntry], where: str, findings: Findings
) -> Iterator[MarketStateRecord]:
    for entry_id, record in readable(entries):
        if record is None:
            findings.bad(f"{where}, entry {entry_id.decode()}", "not a record of this version")
        else:
            yield record


def _candles(
    entries: Iterable[StreamEntry], path: str, settings: Settings, findings: Findings
) -> Iterator[Candle]:
    """The candles that a worker with these settings would apply."""
    following = Following(settings.candle_interval, findings, tell_gaps=True)
    ours = settings.candle_interval_ms
    for entry_id, fields in entries:
        place = f"entry {entry_id.decode()}"
        where = f"{path}, {place}"
        try:
            candle = decode_candle(fields, entry_time_ms(entry_id), settings.max_ahead_ms, ours)
        except CandleRejected as error:
            findings.bad(where, str(error))
            continue
        if candle.interval is not None and length_ms(candle.interval) != ours:
            continue
        read = ReadCandle(candle, path, place, "close_time", str(candle.close_time))
        if not candle.is_closed:
            findings.unclosed(where, f"{candle.symbol}, {read.written}")
            continue
        found = following.place_of(read)
        if found is Place.NEXT:
            yield candle
        elif found is Place.BEFORE:
            findings.bad(where, following.out_of_order(read))
