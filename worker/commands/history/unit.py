"""Calculates one unit of a history: what a worker does to its candles, without leases and commits.

The pipeline is that of the worker. Where a unit goes on after a checkpoint, everything is read
again, so the windows fill and everything is counted; only the states are there already.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Final

from marketstate.schemas.candle import Candle
from marketstate.schemas.candle_forms import symbol_at_first_sight
from marketstate.worker.commands.history.grouping import grouped
from marketstate.worker.commands.history.job import Job, Run, Unit
from marketstate.worker.commands.history.parts import Group, Part
from marketstate.worker.commands.history.rows import packed
from marketstate.worker.commands.history.told import OF_CANDLE_FILES, OF_RECORDINGS, Told
from marketstate.worker.commands.replay.sources import Recorded
from marketstate.worker.engine.changes import Changes, Entry, Memory, Reading, no_caches
from marketstate.worker.engine.mark import parse_mark
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.engine.reading import Reader
from marketstate.worker.errors import ConfigurationError, WorkerError
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from marketstate.worker.settings import PREFIX

# Of many symbols, each has some closes in it.
BATCH: Final = 4_000
CHECKPOINT_S: Final = 5.0
# What a reading has for the pipeline instead of the id of an entry.
_WARM: Final = (0, 0)
_DUE: Final = (1, 0)
# The same for all lines of candle files: the pipeline has nothing to say of any.
_NO_ENTRY: Final = Entry(0, b"", {})

GoOn = Callable[[int], bool]
"""Told how many entries have been read; False to stop."""


class _Line(Entry):
    """An entry that is called by its file and line."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.id.decode()


class _RunOfUnit:
    """The windows of one run."""

    def __init__(
        self, run: Run, intervals: Collection[str], marks: dict[str, dict[str, str]]
    ) -> None:
        self._pipeline = Pipeline(run.settings, warm_until=_WARM, intervals=intervals)
        self._candle_interval = run.settings.candle_interval
        self._marks = marks
        self.memory: dict[str, Memory] = {}
        self.counters: Counter[str] = Counter()

    def advance(self, readings: list[Reading]) -> Changes:
        changes = self._pipeline.advance(readings, self._of, no_caches)
        self.memory.update((symbol, known) for _, symbol, known in changes.memories())
        self.counters.update(changes.counters)
        return changes

    def _of(self, _shard: int, symbol: str) -> Memory | None:
        return self.memory.get(symbol)

    def take_over(self) -> None:
        """The marks of the checkpoint, now that the windows are where they were."""
        for symbol, known in self.memory.items():
            for interval, mine in self._each_interval(known):
                if mark := self._marks.get(interval, {}).get(symbol):
                    mine.mark = parse_mark(mark.encode())

    def marks(self) -> dict[str, dict[str, str]]:
        marks: dict[str, dict[str, str]] = {}
        for symbol, known in self.memory.items():
            for interval, mine in self._each_interval(known):
                marks.setdefault(interval, {})[symbol] = mine.mark.text(short=False)
        return marks

    def _each_interval(self, known: Memory) -> list[tuple[str, Memory]]:
        return [(self._candle_interval, known), *known.longer.items()]


def work(job: Job, unit: Unit, go_on: GoOn) -> bool:
    """Calculate what is left to do of a unit; False if it was stopped."""
    part = Part(job.folder, unit.number, len(job.runs))
    if part.checkpoint.groups:
        return True
    try:
        part.open()
        return _Work(job, unit, part).do(go_on)
    except OSError as error:
        raise WorkerError(
            f"cannot write into {job.folder}: {error.strerror}; --resume continues from the last "
            "checkpoint"
        ) from None
    finally:
        part.close()


class _Work:
    def __init__(self, job: Job, unit: Unit, part: Part) -> None:
        self._job = job
        self._unit = unit
        self._part = part
        self._checkpoint = part.checkpoint
        self._done_before = part.checkpoint.entries
        marks = part.checkpoint.marks or [{}] * len(job.runs)
        self._runs = [
            _RunOfUnit(run, job.intervals, its) for run, its in zip(job.runs, marks, strict=True)
        ]
        self._symbols = {name: i for i, name in enumerate(part.checkpoint.symbols)}
        self._intervals = {name: i for i, name in enumerate(job.intervals)}
        self._findings = job.findings()
        self._told = Told(OF_RECORDINGS if unit.symbol is None else OF_CANDLE_FILES)
        self._read = 0
        """Entries, also those of other units."""

    def do(self, go_on: GoOn) -> bool:
        """1. read and calculate, 2. save, 3. sort, 4. save that it is done."""
        readings = self._readings()
        count, next_s = 0, time.monotonic() + CHECKPOINT_S
        while True:
            left = self._done_before - count
            batch = list(islice(readings, min(BATCH, left) if left > 0 else BATCH))
            if not batch:
                break
            self._advance(batch)  # 1
            count += len(batch)
            if count == self._done_before:
                for run in self._runs:
                    run.take_over()
            if not go_on(self._read):
                self._save(count)
                return False
            if time.monotonic() >= next_s and count > self._done_before:
                self._save(count)
                next_s = time.monotonic() + CHECKPOINT_S
        self._save(count)  # 2
        self._part.close()
        self._checkpoint.groups = [
            grouped(path, max(1, len(self._symbols))) for path in self._part.paths
        ]  # 3
        self._checkpoint.counters = [
            {**run.counters, **self._emitted(groups)}
            for run, groups in zip(self._runs, self._checkpoint.groups, strict=True)
        ]
        self._checkpoint.findings, self._checkpoint.told = (
            self._findings.plain(),
            self._told.plain(),
        )
        self._part.save()  # 4
        return True

    def _emitted(self, groups: list[Group]) -> dict[str, int]:
        """The counters of states: of those before the last checkpoint, a run has not counted."""
        counts: Counter[str] = Counter()
        each_interval = self._job.runs[0].settings.each_interval
        suffixes = {each.candle_interval: each.suffix for each in each_interval}
        for group in groups:
            counts[f"emitted{suffixes[self._job.intervals[group.interval]]}"] += group.rows
        return counts

    def _advance(self, batch: list[Reading]) -> None:
        for number, run in enumerate(self._runs):
            changes = run.advance(batch)
            if changes.records:
                self._part.write(number, packed(changes.records, self._symbols, self._intervals))
            if number == 0:
                self._told.note(changes)
            self._refuse_too_many(run)

    def _refuse_too_many(self, run: _RunOfUnit) -> None:
        most = self._job.runs[0].settings.max_symbols
        if len(run.memory) > most:
            raise ConfigurationError(
                f"there are more than {most:,} symbols, as many as {PREFIX}MAX_SYMBOLS allows; "
                f"a group would not accept the others: name some with --symbols, or set "
                f"{PREFIX}MAX_SYMBOLS"
            )

    def _save(self, count: int) -> None:
        if count < self._done_before:
            return
        self._checkpoint.entries = count
        self._checkpoint.symbols = list(self._symbols)
        self._checkpoint.marks = [run.marks() for run in self._runs]
        self._part.save()

    def _readings(self) -> Iterator[Reading]:
        sources = self._job.sources()
        if sources.candle_files is not None:
            return self._of_candles(sources.candle_files)
        findings = self._findings if self._unit.number == 0 else Findings(skip_bad=True)
        return self._of_recordings(sources.recorded(findings.bad))

    def _of_candles(self, files: CandleFiles) -> Iterator[Reading]:
        """What is read of candle files, a worker applies: it is checked, and of a wanted symbol."""
        from_ms, to_ms = self._job.from_ms, self._job.to_ms
        for read in files.read(self._findings, self._unit.symbol):
            self._read += 1
            close_time_ms = read.candle.close_time
            if close_time_ms >= to_ms:
                break
            is_due = close_time_ms >= from_ms and self._read > self._done_before
            yield Reading(_NO_ENTRY, _DUE if is_due else _WARM, read.candle)

    def _of_recordings(self, recorded: Iterator[Recorded]) -> Iterator[Reading]:
        settings = self._job.runs[0].settings
        reader = Reader(settings)
        of_partition = [Reader(each) for each in settings.each_partition()]
        from_ms, to_ms = self._job.from_ms, self._job.to_ms
        count = 0
        for where, recorded_entry, fields, partition in recorded:
            self._read += 1
            symbol = self._symbol_of(fields)
            if symbol is not None and not self._is_ours(symbol):
                continue
            entry = _Line(0, where.encode(), fields)
            its_reader = reader if partition is None else of_partition[partition]
            found = its_reader.found(entry, recorded_entry.order[0])
            is_due = False
            if isinstance(found, Candle):
                if symbol is None and not self._is_ours(found.symbol):
                    continue
                if found.close_time >= to_ms:
                    continue
                is_due = found.close_time >= from_ms
            elif symbol is None and self._unit.number != 0:
                continue
            count += 1
            is_due = is_due and count > self._done_before
            yield Reading(entry, _DUE if is_due else _WARM, found)

    def _symbol_of(self, fields: dict[bytes, bytes]) -> str | None:
        if self._job.shares == 1:
            return None
        raw = symbol_at_first_sight(fields)
        try:
            return None if raw is None else raw.decode()
        except UnicodeDecodeError:
            return None

    def _is_ours(self, symbol: str) -> bool:
        return self._job.shares == 1 or self._job.share_of(symbol) == self._unit.number
