"""`marketstate status`: shows the status as tables or as JSON, once or repeatedly."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
import redis

from worker.commands.durations import brief_duration
from worker.commands.options import add_namespace, amount
from worker.engine.broken_commits import TO_COMPLETE
from worker.engine.invented import invented
from worker.engine.published import others_in_words
from worker.engine.status import (
    MOST_COUNTED,
    MOST_COUNTED_PERIODICALLY,
    Status,
    SymbolStatus,
    enough_for,
    in_words,
    read_status,
)
from worker.engine.utc import utc
from worker.errors import CheckFailed
from worker.settings import Settings, settings_from
from worker.stop import interrupt_on
from worker.store import connection

WATCH_S: Final = 2.0
SYMBOLS_SHOWN: Final = 20
_CLEAR: Final = "\033[H\033[2J"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, with all symbols")
    parser.add_argument("--watch", action="store_true", help="refresh every 2 seconds")
    parser.add_argument(
        "--max-lag",
        type=amount,
        default=math.inf,
        metavar="N",
        help="exit with 4 if more than N entries are unfinished (lag + pending)",
    )
    parser.add_argument(
        "--max-age",
        type=amount,
        default=math.inf,
        metavar="S",
        help="exit with 4 if the oldest unfinished entry is more than S seconds old",
    )
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    if options.watch:
        interrupt_on(signal.SIGINT)
    show_status(
        settings_from(namespace=options.namespace),
        as_json=options.json,
        watch=options.watch,
        max_lag=options.max_lag,
        max_age_s=options.max_age,
    )
    return 0


def show_status(
    settings: Settings, *, as_json: bool, watch: bool, max_lag: float, max_age_s: float
) -> None:
    """Raises CheckFailed if the backlog exceeds `max_lag` entries or its oldest entry `max_age_s`,
    and RedisUnusable if there is nothing to read.
    """
    most_counted = enough_for(max_lag, MOST_COUNTED_PERIODICALLY if watch else MOST_COUNTED)
    try:
        with connection.open_client(settings, block_s=0) as client:
            while True:
                clear = _CLEAR if watch and not as_json and sys.stdout.isatty() else ""
                first = [str(found) for found in invented(client, settings)]
                if not as_json:
                    print("".join((clear, *(f"{line}\n" for line in first))), end="", flush=True)
                status = read_status(client, settings, most_counted)
                symbols = [one.symbol for one in status.symbols]
                others = [*others_in_words(client, settings, symbols)]
                status = msgspec.structs.replace(status, other_programs=others)
                text = _json(status, first) if as_json else "\n".join(_tables(status))
                print(text, flush=True)
                _judge(status, max_lag, max_age_s)
                if not watch:
                    return
                time.sleep(WATCH_S)
    except redis.RedisError as error:
        raise connection.unusable(error, settings) from error
    except KeyboardInterrupt:
        return


def _json(status: Status, synthetic: list[str]) -> str:
    """`synthetic` is what the tables say first about synthetic prices."""
    document = {"synthetic": synthetic} | msgspec.structs.asdict(status)
    return msgspec.json.encode(document).decode()


def _judge(status: Status, max_lag: float, max_age_s: float) -> None:
    if status.backlog > max_lag:
        backlog = in_words(status.backlog, at_least=status.lag_at_least)
        raise CheckFailed(f"{backlog} entries are unfinished; allowed: {max_lag:g}")
    if status.oldest_unfinished_s > max_age_s:
        raise CheckFailed(
            f"the oldest unfinished entry is {brief_duration(status.oldest_unfinished_s)} old; "
            f"allowed: {max_age_s:g}s"
        )


def _tables(status: Status) -> Iterator[str]:
    yield f"group {status.group} on {status.stream}"
    yield (
        f"lag {status.lag_in_words}  pending {status.pending}  "
        f"oldest unfinished {brief_duration(status.oldest_unfinished_s)}"
    )
    for commit in status.broken_commits:
        yield f"{commit}; {TO_COMPLETE}"
    yield from status.other_programs
    yield ""
    yield from _table(
        ("shard", "holder", "epoch", "lease left", "pending", "symbols"),
        (
            (
                one.shard,
                one.holder or "-",
                "-" if one.epoch is None else one.epoch,
                "-" if one.lease_left_s is None else f"{one.lease_left_s:.1f} s",
                one.pending,
                one.symbols,
            )
            for one in status.shards
        ),
    )
    yield ""
    yield from _table(
        ("worker", "shards", "last seen"),
        (
            (one.worker_id, ",".join(map(str, one.shards)) or "-", f"{one.seen_s_ago:.1f} s ago")
            for one in status.workers
        ),
    )
    yield ""
    yield "counters  " + ("  ".join(f"{name} {n}" for name, n in status.counters.items()) or "-")
    yield ""
    if status.quarantine_hidden:
        yield status.quarantine_hidden
        yield ""
    if status.quarantine:
        yield "set aside until they are repaired"
        for symbol, reason in islice(status.quarantine.items(), SYMBOLS_SHOWN):
            yield f"  {symbol}: {reason}"
        if len(status.quarantine) > SYMBOLS_SHOWN:
            yield f"  ... and {len(status.quarantine) - SYMBOLS_SHOWN} more; --json shows all"
        yield ""
    yield from _table(
        ("symbol", "last state", "age"), map(_symbol_row, status.symbols[:SYMBOLS_SHOWN])
    )
    if len(status.symbols) > SYMBOLS_SHOWN:
        yield f"... and {len(status.symbols) - SYMBOLS_SHOWN} fresher ones; --json shows all"


def _symbol_row(one: SymbolStatus) -> tuple[object, ...]:
    if one.last_emitted_ms is None or one.age_s is None:
        return one.symbol, "none yet", "-"
    return one.symbol, utc(one.last_emitted_ms), brief_duration(one.age_s)


def _table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    lines = [names, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    for line in lines:
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
