"""`marketstate history`: the states of recordings and candle files, without Redis, as a file.

All is calculated into parts beside the file that is asked for. When they are complete, the file is
written from them, and gets its name when it is whole.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from marketstate.schemas.times import LATEST_MS, time_ms
from marketstate.worker.commands.durations import precise_duration
from marketstate.worker.commands.history.folder import Folder, folder_of, plan_of
from marketstate.worker.commands.history.job import Job
from marketstate.worker.commands.history.planning import planned
from marketstate.worker.commands.history.processes import work_on
from marketstate.worker.commands.history.report import files_in_words, report
from marketstate.worker.commands.history.whole import Block, Whole
from marketstate.worker.commands.history.writing import FORMATS, writer_for
from marketstate.worker.commands.options import add_candle_files, an_interval, count
from marketstate.worker.commands.plurals import counted
from marketstate.worker.commands.progress_bar import ProgressBar
from marketstate.worker.errors import ConfigurationError, WorkerError
from marketstate.worker.files.opening import count_lines
from marketstate.worker.files.piped import is_nameless, readable_path
from marketstate.worker.stop import Stop

MOST_PROCESSES: Final = 256


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=readable_path,
        metavar="FILE",
        help="recordings, candle files such as BTCUSDT-1m-2025-05.csv, or folders of candle files",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"file to write; its name ends in {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--every-close",
        action="store_true",
        help="a state for every close; default: as often as MARKETSTATE_PUBLISH_INTERVAL says",
    )
    parser.add_argument(
        "--theta",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="parameters of the calculation; repeated: a run with each, which the column theta "
        "names; default: MARKETSTATE_THETA_FILE",
    )
    parser.add_argument(
        "--interval",
        dest="intervals",
        action="extend",
        type=_some_intervals,
        default=[],
        metavar="I,I",
        help="the intervals of the states, separated by commas: that of the candles, and multiples "
        "of it; default: MARKETSTATE_INTERVALS, which is that of the candles unless it is set",
    )
    parser.add_argument(
        "--symbols",
        metavar="NAMES",
        help="these symbols, separated by commas; default: MARKETSTATE_SYMBOLS",
    )
    parser.add_argument(
        "--from",
        dest="from_ms",
        type=_moment,
        default=0,
        metavar="TIME",
        help="states of closes from this time (UTC) on, such as 2025-05-01; earlier candles fill "
        "windows and publish nothing",
    )
    parser.add_argument(
        "--to",
        dest="to_ms",
        type=_moment,
        default=LATEST_MS + 1,
        metavar="TIME",
        help="leave out candles that close at this time or later",
    )
    parser.add_argument(
        "--processes",
        type=_processes,
        default=min(MOST_PROCESSES, len(os.sched_getaffinity(0))),
        metavar="N",
        help="calculate in N processes; the file is the same; default: one for each processor",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue where an earlier run was interrupted"
    )
    parser.add_argument(
        "--allow-gaps",
        action="store_true",
        help="accept missing candles, as of markets that close; default: refuse the files",
    )
    add_candle_files(parser, "--candle-interval")


def command(options: argparse.Namespace) -> int:
    out = options.out
    writer = writer_for(out)
    if out.exists():
        raise ConfigurationError(f"{out} already exists; choose another name, or delete it")
    job = planned(options, folder_of(out), shares=options.processes)
    stop = Stop()
    stop.listen()
    began_s = time.monotonic()
    with Folder(out, plan_of(job), resume=options.resume) as folder:
        job = job._replace(shares=folder.shares)
        for line in files_in_words(job):
            _tell(line)
        if not _calculate(job, _possible(options.processes, job), stop):
            return _stopped()
        whole = Whole(job)
        new = folder.path / "whole"
        try:
            writer(new, job, whole.symbols, _shown(whole, stop))
        except _Stopped:
            return _stopped()
        except OSError as error:
            raise WorkerError(
                f"cannot write {new}: {error.strerror}; --resume continues from here"
            ) from None
        folder.finish(new)
    for line in report(job, whole):
        _tell(line)
    took = precise_duration(time.monotonic() - began_s)
    of_what = counted(len(whole.symbols), "symbol")
    _tell(f"{counted(whole.rows, 'state')} of {of_what} in {out}, after {took}")
    return 0


def _calculate(job: Job, processes: int, stop: Stop) -> bool:
    lines = 0
    for path in job.paths:
        if stop.requested:
            return False
        lines += count_lines(path)
    # Of recordings, every unit reads all.
    progress = ProgressBar(lines, "lines")
    each = 1 if job.symbols else job.shares

    def go_on(entries: int) -> bool:
        progress.show(min(lines, entries // each))
        return not stop.requested

    try:
        return work_on(job, job.units, processes, go_on)
    finally:
        progress.end()


def _possible(processes: int, job: Job) -> int:
    """What comes through a pipe is there for one process alone."""
    return 1 if any(is_nameless(path) or not path.is_file() for path in job.paths) else processes


class _Stopped(Exception):
    """By a signal, while the file was written."""


def _stopped() -> int:
    _tell("stopped by a signal; --resume continues from here")
    return 130


def _shown(whole: Whole, stop: Stop) -> Iterator[Block]:
    """The rows, with a progress bar. Raises _Stopped."""
    progress, done = ProgressBar(whole.rows, "states written"), 0
    try:
        for block in whole.blocks():
            if stop.requested:
                raise _Stopped
            yield block
            done += len(block.rows)
            progress.show(done)
    finally:
        progress.end()


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _processes(text: str) -> int:
    number = count(text)
    if number > MOST_PROCESSES:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MOST_PROCESSES} processes")
    return number


def _some_intervals(text: str) -> list[str]:
    return [an_interval(each.strip()) for each in text.split(",")]


def _moment(text: str) -> int:
    try:
        return time_ms(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
