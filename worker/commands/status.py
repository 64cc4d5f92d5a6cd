"""`marketstate status`: shows the status as tables or as JSON, once or repeatedly."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from marketstate.worker.commands.invented_anywhere import invented_anywhere
from marketstate.worker.commands.limits import Limits, add_limits, judge, limits_of
from marketstate.worker.commands.options import add_namespace
from marketstate.worker.commands.status_closes import with_closes
from marketstate.worker.commands.status_tables import SYMBOLS_SHOWN, fitted, tables, wrapped
from marketstate.worker.commands.terminal_size import Size, terminal_size
from marketstate.worker.engine.all_partitions import AllPartitions, unread_partitions
from marketstate.worker.engine.published import others_in_words
from marketstate.worker.engine.status import (
    MOST_COUNTED,
    MOST_COUNTED_PERIODICALLY,
    Status,
    enough_for,
    read_status,
)
from marketstate.worker.engine.status_of_all import PartitionStatus, line_of, summed
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.settings import Settings, on_dumb_terminal, settings_from
from marketstate.worker.stop import interrupt_on
from marketstate.worker.store.connection import Client
from marketstate.worker.store.refusal import is_transient

WATCH_S: Final = 2.0
_CLEAR: Final = "\033[H\033[2J"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, with all symbols")
    parser.add_argument("--watch", action="store_true", help="refresh every 2 seconds")
    parser.add_argument("--shards", action="store_true", help="show a line for each shard")
    parser.add_argument("--partitions", action="store_true", help="show a line for each partition")
    add_limits(parser, "exit with 4")
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    if options.watch:
        interrupt_on(signal.SIGINT)
    wanted = Wanted(
        as_json=options.json,
        watch=options.watch,
        with_shards=options.shards,
        each_partition=options.partitions,
        limits=limits_of(options),
    )
    show_status(settings_from(namespace=options.namespace), wanted)
    return 0


class Wanted(NamedTuple):
    """As the options of the command line."""

    limits: Limits
    as_json: bool = False
    watch: bool = False
    with_shards: bool = False
    each_partition: bool = False


def show_status(settings: Settings, wanted: Wanted) -> None:
    """Raises CheckFailed if the backlog exceeds the limits, and RedisUnusable if there is nothing
    to read, or not everything.
    """
    every = AllPartitions(settings, asks_again=wanted.watch)
    was_shown = False
    try:
        while True:
            size = terminal_size(sys.stdout)
            clears = wanted.watch and not wanted.as_json and size and not on_dumb_terminal()
            clear = _CLEAR if clears else ""
            try:
                _show(every, settings, wanted, size, clear)
                was_shown = True
            except RedisUnusable as error:
                if not (was_shown and error.__cause__ and is_transient(error.__cause__)):
                    raise
                # Who watches a Redis wants to see it come back.
                print(f"{clear}retrying: {error}", file=sys.stderr, flush=True)
            if not wanted.watch:
                return
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return
    finally:
        every.close()


def _show(
    every: AllPartitions,
    settings: Settings,
    wanted: Wanted,
    size: Size | None,
    clear: str,
) -> None:
    """`clear` is what clears the screen, if it is to be filled. Raises as `show_status`."""
    otherwise = MOST_COUNTED_PERIODICALLY if wanted.watch else MOST_COUNTED
    rows = math.inf if wanted.as_json else size.lines if size else SYMBOLS_SHOWN + 1
    first = [f"{each.subject}: {each.text}" for each in invented_anywhere(every, settings)]
    if not wanted.as_json:
        print("".join((clear, *(f"{line}\n" for line in first))), end="", flush=True)
    read = partial(_read, most_counted=enough_for(wanted.limits.max_lag, otherwise), rows=rows)
    answers = every.ask(read)
    status = summed(settings, answers)
    lines_of = [] if settings.partitions is None else [line_of(each) for each in answers]
    if wanted.as_json:
        lines = [_json(status, first, lines_of)]
    else:
        above = sum(len(wrapped(line, size)) for line in first)
        lines = tables(
            status,
            size,
            with_shards=wanted.with_shards,
            above=above,
            partitions=lines_of,
            each_partition=wanted.each_partition,
        )
        if clear and size:
            lines = fitted(lines, size.lines - above - 1)
        elif wanted.watch:
            lines.append("")
    print("\n".join(lines), flush=True)
    judge(status, wanted.limits)
    if not wanted.watch and (unread := unread_partitions(answers)):
        raise unread


def _read(client: Client, settings: Settings, *, most_counted: int, rows: float) -> Status:
    status = read_status(client, settings, most_counted)
    symbols = [one.symbol for one in status.symbols]
    others = [*others_in_words(client, settings, symbols)]
    status = msgspec.structs.replace(status, other_programs=others)
    return with_closes(client, settings, status, rows)


def _json(status: Status, synthetic: list[str], partitions: Sequence[PartitionStatus]) -> str:
    """`synthetic` is what the tables say first about synthetic prices."""
    document = {"synthetic": synthetic} | msgspec.structs.asdict(status)
    if partitions:
        document["partitions"] = partitions
    if not status.intervals:
        del document["intervals"]
    return msgspec.json.encode(document).decode()
