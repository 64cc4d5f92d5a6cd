"""The status as tables, as long and wide as the screen that they are for.

What matters most comes first: the backlog, then who holds the shards. The lists of workers and
symbols have the lines that are left.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby, islice
from typing import Final

from marketstate.worker.commands.cells import cells, cut, left
from marketstate.worker.commands.durations import brief_duration
from marketstate.worker.commands.terminal_size import Size
from marketstate.worker.engine.broken_commits import TO_COMPLETE
from marketstate.worker.engine.freshness import IntervalStatus, SymbolStatus
from marketstate.worker.engine.status import (
    ShardStatus,
    Status,
    WorkerStatus,
    in_words,
)
from marketstate.worker.engine.status_of_all import PartitionStatus, free_shards
from marketstate.worker.engine.utc import utc

SYMBOLS_SHOWN: Final = 20
# A table of fewer lines says nothing: its names, two rows, and how many are left out.
_SHORTEST_TABLE: Final = 4
_JSON_SHOWS_ALL: Final = "--json shows all"


def tables(
    status: Status,
    size: Size | None,
    *,
    with_shards: bool,
    above: int = 0,
    partitions: Sequence[PartitionStatus] = (),
    each_partition: bool = False,
) -> list[str]:
    """The lines for a screen of this size on which `above` lines are taken.

    Without a size, every worker and the SYMBOLS_SHOWN stalest symbols have a line. With
    `each_partition`, each has a line, else those that need a look.
    """
    top = [*_backlog(status), *_partitions(partitions, size, each_partition=each_partition)]
    top += _set_aside(status, size)
    if with_shards:
        top += ["", *_table(*_shard_rows(status.shards))]
    else:
        top += ["", _shards_in_a_line(status.shards)]
    counters = "  ".join(f"{name} {n}" for name, n in status.counters.items()) or "-"
    top += ["", f"counters  {counters}", ""]
    lines = [part for line in top for part in wrapped(line, size)]
    if status.intervals:
        lines += [*_table(*_interval_rows(status.intervals)), ""]
    if size is None:
        workers, symbols = math.inf, SYMBOLS_SHOWN + 2
    else:
        # Below are an empty line and that of the cursor.
        lines_left = max(2 * _SHORTEST_TABLE, size.lines - above - len(lines) - 2)
        of_workers = max(lines_left // 2, lines_left - len(status.symbols) - 1)
        workers = min(len(status.workers) + 1, of_workers)
        symbols = lines_left - workers
    found = _table(*_worker_rows(status.workers)) if status.workers else ["no workers"]
    lines += _cut(found, workers, _JSON_SHOWS_ALL)
    lines.append("")
    lines += _cut(
        _table(*_symbol_rows(status.symbols, status.closes_needed)),
        symbols,
        f"fresher ones; {_JSON_SHOWS_ALL}",
    )
    return [line if size is None else cut(line, size.columns) for line in lines]


def _backlog(status: Status) -> Iterable[str]:
    yield f"group {status.group} on {status.stream}"
    yield (
        f"lag {status.lag_in_words}  pending {status.pending}  "
        f"oldest unfinished {brief_duration(status.oldest_unfinished_s)}"
    )
    for commit in status.broken_commits:
        yield f"{commit}; {TO_COMPLETE}"
    yield from status.other_programs


def _partitions(
    partitions: Sequence[PartitionStatus], size: Size | None, *, each_partition: bool
) -> Iterable[str]:
    """In a line, unless one of them needs a look or all are asked for."""
    if not partitions:
        return
    if each_partition:
        yield ""
        yield from _table(*_partition_rows(partitions))
        return
    most = max(partitions, key=lambda one: one.lag + one.pending)
    unread = sum(bool(one.trouble) for one in partitions)
    text = f"partitions  {len(partitions)}"
    text += f", {unread} of them cannot be read" if unread else ""
    if most.lag + most.pending:
        text += f", most unfinished in {most.partition}: {_unfinished_in(most)}"
    yield text
    in_need = [one for one in partitions if one.needs_a_look]
    in_need.sort(key=lambda one: not one.trouble)
    limit = SYMBOLS_SHOWN if size is None else max(2, size.lines // 8)
    for one in in_need[:limit]:
        line = f"  {one.partition} {one.needs_a_look}"
        yield cut(line, size.columns) if size else line
    if len(in_need) > limit:
        yield f"  ... and {len(in_need) - limit} more; --partitions shows all"


def _unfinished_in(one: PartitionStatus) -> str:
    return in_words(one.lag + one.pending, at_least=one.lag_at_least)


def _partition_rows(partitions: Iterable[PartitionStatus]) -> "_Rows":
    names = ("partition", "lag", "pending", "oldest", "held", "workers", "symbols", "")
    return names, [
        (one.partition, *["-"] * 6, one.trouble)
        if one.trouble
        else (
            one.partition,
            in_words(one.lag, at_least=one.lag_at_least),
            one.pending,
            brief_duration(one.oldest_unfinished_s),
            f"{one.held} of {one.shards}",
            one.workers,
            one.symbols,
            "" if one.held == one.shards else "not all held",
        )
        for one in partitions
    ]


def _set_aside(status: Status, size: Size | None) -> Iterable[str]:
    if status.quarantine_hidden:
        yield status.quarantine_hidden
    if status.quarantine:
        most = SYMBOLS_SHOWN if size is None else max(2, size.lines // 8)
        yield "set aside until they are repaired"
        for symbol, reason in islice(status.quarantine.items(), most):
            yield f"  {symbol}: {reason}"
        if len(status.quarantine) > most:
            yield f"  ... and {len(status.quarantine) - most} more; {_JSON_SHOWS_ALL}"


def _shards_in_a_line(shards: Sequence[ShardStatus]) -> str:
    held = [one for one in shards if one.holder]
    free = free_shards(shards)
    leases_s = [one.lease_left_s for one in held if one.lease_left_s is not None]
    leases_left = f", leases left {min(leases_s):.1f}-{max(leases_s):.1f} s" if leases_s else ""
    not_held = ", not held: " if free else ""
    if free.keys() <= {""}:
        not_held += "".join(map(ranges, free.values()))
    else:
        not_held += f"{len(shards) - len(held)} in {len(free)} partitions" if free else ""
    symbols = sum(one.symbols for one in shards)
    return f"shards  {len(held)} of {len(shards)} held{not_held}{leases_left}, symbols {symbols}"


def ranges(numbers: Iterable[int]) -> str:
    """`0-3,7` for 0, 1, 2, 3, 7."""
    found = []
    for _, group in groupby(enumerate(sorted(numbers)), lambda each: each[1] - each[0]):
        run = [number for _, number in group]
        found.append(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return ",".join(found)


_Rows = tuple[Sequence[str], list[Sequence[object]]]


def _shard_rows(shards: Iterable[ShardStatus]) -> _Rows:
    return ("shard", "holder", "epoch", "lease left", "pending", "symbols"), [
        (
            f"{one.partition} {one.shard}".lstrip(),
            one.holder or "-",
            "-" if one.epoch is None else one.epoch,
            "-" if one.lease_left_s is None else f"{one.lease_left_s:.1f} s",
            one.pending,
            one.symbols,
        )
        for one in shards
    ]


def _interval_rows(intervals: Iterable[IntervalStatus]) -> _Rows:
    counts = ("emitted", "gaps", "restarted", "fresh", "stale", "filling")
    return ("interval", *counts, "last state (UTC)", "age"), [
        (
            one.interval,
            *(getattr(one, name) for name in counts),
            *_last_state(one.last_emitted_ms, one.age_s),
        )
        for one in intervals
    ]


def _last_state(last_emitted_ms: int | None, age_s: float | None) -> tuple[str, str]:
    if last_emitted_ms is None or age_s is None:
        return "none yet", "-"
    return utc(last_emitted_ms), brief_duration(age_s)


def _worker_rows(workers: Iterable[WorkerStatus]) -> _Rows:
    return ("worker", "last seen", "shards"), [
        (one.worker_id, f"{one.seen_s_ago:.1f} s ago", _held_by(one) or "-") for one in workers
    ]


def _held_by(worker: WorkerStatus) -> str:
    if not worker.in_partitions:
        return ranges(worker.shards)
    counts = [len(shards) for shards in worker.in_partitions.values() if shards]
    return f"{sum(counts)} in {len(counts)} partitions" if counts else ""


def _symbol_rows(symbols: Iterable[SymbolStatus], closes_needed: int) -> _Rows:
    return ("symbol", "last state (UTC)", "age"), [
        (one.symbol, _none_yet(one.closes, closes_needed), "-")
        if one.last_emitted_ms is None or one.age_s is None
        else (one.symbol, utc(one.last_emitted_ms), brief_duration(one.age_s))
        for one in symbols
    ]


def _none_yet(closes: int | None, needed: int) -> str:
    if closes is None:
        return "none yet"
    if closes >= needed:
        return "none yet, comes with the next close"
    return f"none yet, {closes} of {needed} closes"


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [names, *([str(cell) for cell in row] for row in rows)]
    widths = [max(cells(line[i]) for line in lines) for i in range(len(names))]
    return [
        "  ".join(left(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def fitted(lines: list[str], most: int) -> list[str]:
    """For a screen that is drawn again and again, and must not scroll."""
    return _cut(lines, max(2, most), "more lines; a taller terminal shows them")


def _cut(lines: list[str], most: float, more: str) -> list[str]:
    """The first of them, if there are too many, and how many are left out."""
    if len(lines) <= most:
        return lines
    kept = lines[: int(most) - 1]
    return [*kept, f"... and {len(lines) - len(kept)} {more}"]


def wrapped(line: str, size: Size | None) -> list[str]:
    if size is None or cells(line) <= size.columns:
        return [line]
    # As if each part had all the wide letters.
    width = max(size.columns // 2, size.columns - (cells(line) - len(line)))
    return textwrap.wrap(line, width, subsequent_indent="  ")
