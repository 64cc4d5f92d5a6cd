"""What a history says: which files it reads, what was found there, what became of their candles."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from marketstate.core.theta import minimum_length
from marketstate.worker.commands.history.job import Job
from marketstate.worker.commands.history.told import Told
from marketstate.worker.commands.history.whole import Whole
from marketstate.worker.commands.plurals import counted

_LISTED: Final = 10


def files_in_words(job: Job) -> Iterator[str]:
    """Which files are read, in which order."""
    what = counted(len(job.paths), "candle file" if job.symbols else "recording")
    of_what = f" of {counted(len(job.symbols), 'symbol')}" if job.symbols else ""
    yield f"{what}{of_what}; the candles of a symbol are taken by time:"
    yield from (f"  {path}" for path in job.paths[:_LISTED])
    if len(job.paths) > _LISTED:
        yield f"  ... and {len(job.paths) - _LISTED:,} more"


def report(job: Job, whole: Whole) -> Iterator[str]:
    """What was found in the files, and what became of their candles."""
    findings, told = job.findings(), Told()
    if (candle_files := job.sources().candle_files) is not None:
        findings.notes += candle_files.notes
    counters: list[Counter[str]] = [Counter() for _ in job.runs]
    for part in whole.parts:
        findings.add(part.checkpoint.findings)
        told.add(part.checkpoint.told)
        for sums, found in zip(counters, part.checkpoint.counters, strict=True):
            sums.update(found)
    yield from findings.report()
    yield from told.report(counters[0])
    for run, sums in zip(job.runs, counters, strict=True):
        in_words = ", ".join(f"{name} {count:,}" for name, count in sorted(sums.items()) if count)
        yield f"theta {run.theta}: {in_words or 'no candles'}"
    yield from _without_states(job, whole)


def _without_states(job: Job, whole: Whole) -> Iterator[str]:
    """Names that somebody expects in the file, but are not there."""
    settings = job.runs[0].settings
    expected = {*job.symbols, *(settings.wanted_symbols or ())}
    needed = minimum_length(settings.theta)
    for i, interval in enumerate(job.intervals):
        there = whole.symbols_of(i)
        names = sorted(expected - there)
        if names or not there:
            of_interval = f" of {interval}" * (interval != settings.candle_interval)
            more = f" and {len(names) - _LISTED:,} more" * (len(names) > _LISTED)
            of_what = f" of {', '.join(names[:_LISTED])}{more}" if names else ""
            yield (
                f"no states{of_interval}{of_what}: each needs {needed:,} closes{of_interval} "
                "before --to, the last of them after --from"
            )
