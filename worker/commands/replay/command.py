"""`marketstate replay`: feeds recordings or candle files, and can run workers for them.

All files are first read completely, so that nothing is fed unless everything can be, and the
progress bar knows its end. With --namespace, the replay has its own keys; only --live feeds the
live stream.
"""

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import redis
from redis.exceptions import ClusterDownError

from marketstate.worker.commands.options import (
    add_candle_files,
    add_namespace,
    amount,
    positive,
    said,
)
from marketstate.worker.commands.progress_bar import ProgressBar
from marketstate.worker.commands.replay import namespace
from marketstate.worker.commands.replay.feeders import Feeders
from marketstate.worker.commands.replay.schedule import batches
from marketstate.worker.commands.replay.sources import Item, Sources
from marketstate.worker.engine.counters import numbers
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.errors import ConfigurationError, WorkerError
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.piped import readable_path
from marketstate.worker.local.workers import LocalWorkers
from marketstate.worker.settings import MOST_PARTITIONS, Settings, environment_with, settings_from
from marketstate.worker.stop import Stop
from marketstate.worker.store import connection
from marketstate.worker.store.refusal import refuses_for_now

ENTRIES_AT_ONCE: Final = 1_000
MOST_WORKERS: Final = 256
HOW_TO_END: Final = "waiting until it is back; Ctrl-C ends this, and --resume continues from here"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        type=readable_path,
        metavar="FILE",
        help="recordings, candle files such as BTCUSDT-1m-2025-05.csv, or folders of them",
    )
    add_namespace(parser)
    parser.add_argument("--live", action="store_true", help="feed the live input stream")
    parser.add_argument(
        "--workers", type=_workers, default=0, metavar="N", help="run N workers until it is done"
    )
    parser.add_argument(
        "--partitions",
        type=_partitions,
        metavar="N",
        help="feed N partitions; 0: a single group; default: MARKETSTATE_PARTITIONS",
    )
    parser.add_argument(
        "--clean",
        action="store_true",
        help="remove the keys of the namespace; with FILEs, after the replay",
    )
    parser.add_argument(
        "--speed",
        type=positive,
        default=math.inf,
        metavar="N",
        help="N times real time; 1 keeps the original gaps; default: as fast as possible",
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue an interrupted replay of the same files"
    )
    parser.add_argument(
        "--keep-ids", action="store_true", help="keep the original entry ids of recordings"
    )
    parser.add_argument(
        "--allow-gaps",
        action="store_true",
        help="accept missing candles, as of markets that close; default: refuse the files",
    )
    parser.add_argument(
        "--max-backlog",
        type=amount,
        default=10_000,
        metavar="N",
        help="wait while the group has more than N unfinished entries; inf: never wait; "
        "default: 10000",
    )
    add_candle_files(parser)


def command(options: argparse.Namespace) -> int:
    asked = {} if options.partitions is None else {"partitions": str(options.partitions or "")}
    settings = settings_from(environment_with(**asked), namespace=options.namespace)
    _refuse_mistakes(options, settings)
    stop = Stop()
    stop.listen()
    try:
        if options.files:
            _Replay(options, settings, stop).run()
        if options.clean and not stop.requested:
            count = namespace.remove(settings)
            if count == 0 and not options.files:
                instead = namespace.instead(settings)
                raise ConfigurationError(
                    f"the namespace {settings.replay_namespace} has no keys; "
                    f"{instead or 'nothing was removed'}"
                )
            _tell(f"removed the namespace {settings.replay_namespace}: {count} keys")
    except redis.RedisError as error:
        if not stop.requested:
            raise connection.unusable(error, settings) from error
    return 130 if stop.requested else 0


def _refuse_mistakes(options: argparse.Namespace, settings: Settings) -> None:
    inside = bool(settings.replay_namespace)
    if inside == options.live:
        raise ConfigurationError(
            "give either --namespace NAME, to feed a separate namespace, or --live, to feed the "
            f"live stream {settings.input_stream}"
        )
    if not inside and (options.workers or options.clean):
        raise ConfigurationError("--workers and --clean need --namespace, not --live")
    if options.partitions is not None and not inside:
        raise ConfigurationError(
            "--partitions needs --namespace: the live streams are those of MARKETSTATE_PARTITIONS"
        )
    if not options.files and not options.clean:
        raise ConfigurationError("no FILE to replay; give at least one")
    if not options.files and options.workers:
        raise ConfigurationError("--workers needs a FILE to replay")


class _Summary(NamedTuple):
    total: int
    end_ms: int
    """The time of the last item."""


class _Replay:
    def __init__(self, options: argparse.Namespace, settings: Settings, stop: Stop) -> None:
        self._options = options
        self._settings = settings
        self._stop = stop
        self._sources = Sources(
            options.files, settings, keep_ids=options.keep_ids, said=said(options)
        )
        self._feeders = Feeders(settings, stop, self._on_wait, self._tell_of_redis)
        self._progress = ProgressBar(0, "entries")
        self._workers = LocalWorkers(
            [
                environment_with(
                    replay_namespace=settings.replay_namespace,
                    partitions=str(settings.partitions or ""),
                    worker_id=f"replay-{os.getpid()}-{i}",
                    log_level="WARNING",
                )
                for i in range(options.workers)
            ]
        )
        self._most_unfinished = max(1.0, options.max_backlog)
        self._time_ms = 0
        self._has_told_how_to_end = False

    def run(self) -> None:
        """1. read all files; 2. check the target; 3. feed; 4. report."""
        self._refuse_absent_redis()
        found = Findings(skip_bad=self._options.skip_bad, allow_gaps=self._options.allow_gaps)
        self._summary = self._survey(self._sources.read(found))  # 1
        if self._stop.requested:
            return
        _tell(f"{self._summary.total:,} entries to feed")
        if not self._summary.total:
            _tell("nothing was fed, and no worker was started")
            for line in found.report():
                _tell(line)
            return
        if self._settings.replay_namespace and not self._workers:
            namespace = self._settings.replay_namespace
            partitions = self._settings.partitions
            is_said = partitions or self._options.partitions is not None
            with_partitions = f" MARKETSTATE_PARTITIONS={partitions or ''}" if is_said else ""
            _tell(
                "unless workers already run for it, start one: MARKETSTATE_REPLAY_NAMESPACE="
                f"{namespace}{with_partitions} marketstate worker (or use --workers N)"
            )
        items = self._sources.read(Findings(skip_bad=True, allow_gaps=True))
        items = self._begin(items)  # 2
        self._progress = ProgressBar(self._summary.total, "entries")
        self._before = self._feeders.count
        self._began_s = time.monotonic()
        try:
            self._feed(items)  # 3
        except (WorkerError, redis.RedisError):
            hint = "; --resume continues from here" if self._stop.requested else ""
            done = f"{self._feeders.count:,} of {self._summary.total:,}"
            _tell(f"interrupted after {done} entries{hint}")
            raise
        for line in (*self._report(), *found.report()):
            _tell(line)  # 4

    def _feed(self, items: Iterator[Item]) -> None:
        """Feed everything while the workers run, until they have finished it."""
        most = int(min(ENTRIES_AT_ONCE, self._most_unfinished))
        with self._workers:
            try:
                for batch in batches(items, self._options.speed, most, self._wait_until_due):
                    self._feeders.feed(batch, self._most_unfinished)
                    self._time_ms = batch[-1].time_ms
                    self._show()
                    if self._stop.requested:
                        break
                self._fed_s = time.monotonic() - self._began_s
                self._held_up_s = self._feeders.waited_s
                if self._workers or self._options.clean:
                    self._feeders.wait_until_finished()
            finally:
                self._progress.end()

    def _survey(self, items: Iterator[Item]) -> _Summary:
        total = end_ms = 0
        progress = ProgressBar(None, "entries counted")
        for item in items:
            total, end_ms = total + 1, item.time_ms
            progress.show(total)
            if self._stop.requested:
                break
        progress.end()
        return _Summary(total, end_ms)

    def _refuse_absent_redis(self) -> None:
        """As every command does. Once the replay has begun, it waits for Redis instead."""
        for part in self._settings.each_partition():
            try:
                with connection.open_client(part, block_s=0) as client:
                    client.ping()
            except redis.RedisError as error:
                # A cluster may lack a node for good.
                if not refuses_for_now(error) or isinstance(error, ClusterDownError):
                    raise

    def _begin(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items that are to be fed."""
        if self._settings.replay_namespace:
            self._feeders.with_redis(namespace.refuse_foreign)
            if not self._options.resume:
                self._feeders.with_redis(namespace.refuse_used)
        if self._options.resume:
            return self._feeders.resume(items)
        self._feeders.start_over()
        return items

    def _wait_until_due(self, seconds: float) -> bool:
        if self._stop.requested:
            return False
        self._show()
        self._stop.sleep(min(seconds, 1.0))
        return not self._stop.requested

    def _tell_of_redis(self, line: str) -> None:
        self._progress.end()
        print(line, file=sys.stderr, flush=True)
        if not self._has_told_how_to_end:
            self._has_told_how_to_end = True
            print(HOW_TO_END, file=sys.stderr, flush=True)

    def _on_wait(self, unfinished: str) -> None:
        self._show(f"unfinished: {unfinished}")

    def _show(self, note: str = "") -> None:
        self._workers.check()
        left_s = None
        if self._options.speed < math.inf and self._time_ms:
            left_s = (self._summary.end_ms - self._time_ms) / 1_000 / self._options.speed
        self._progress.show(self._feeders.count, note, left_s)

    def _report(self) -> Iterator[str]:
        feeders, total = self._feeders, self._summary.total
        fed = feeders.count - self._before
        if self._before:
            yield f"{self._before:,} entries were already fed"
        yield (
            f"{fed:,} of {total:,} entries fed into {keys_of_all(self._settings).input} in "
            f"{self._fed_s:.1f} s ({fed / max(self._fed_s, 1e-9):,.0f}/s), of which "
            f"{self._held_up_s:.1f} s waiting for the group"
        )
        if self._stop.requested:
            yield "stopped by a signal; --resume continues from here"
        elif feeders.count != total:
            yield "the files changed while they were read: later entries may be missing"
        if self._workers:
            took_s = time.monotonic() - self._began_s
            yield f"workers: {len(self._workers)}; from start to end: {took_s:.1f} s"
        found: list[Any] = feeders.with_redis(
            lambda client, part: client.hgetall(part.keys.counters)
        )
        counts: Counter[str] = Counter()
        for each in found:
            counts.update(numbers(each))
        if self._settings.replay_namespace and counts:
            in_words = (f"{name} {count:,}" for name, count in counts.items())
            yield f"the group so far: {', '.join(in_words)}"


def _tell(line: str) -> None:
    print(line, flush=True)


def _partitions(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MOST_PARTITIONS:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a number of partitions, 0 to {MOST_PARTITIONS}"
        )
    return int(text)


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a number of workers, 1 to {MOST_WORKERS}"
        )
    return int(text)
