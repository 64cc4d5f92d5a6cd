"""`marketstate gather`: appends the candles of many streams to the one that workers read.

Each stream is read through a group of its own. Candles are appended and their entries acknowledged
in one step, so a crash neither loses nor repeats one. With `--partitions`, it brings the entries of
one stream to the partitions: see `bridge.py`.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable

import msgspec

from marketstate.schemas.partitions import INPUT_STREAM
from marketstate.worker.commands.gather.bridge import Bridge
from marketstate.worker.commands.gather.gatherer import Gatherer
from marketstate.worker.commands.gather.patterns import is_pattern
from marketstate.worker.commands.gather.reading import ENTRIES_AT_ONCE
from marketstate.worker.commands.gather.session import Plan, Session
from marketstate.worker.commands.gather.sources import Sources, refuse_own
from marketstate.worker.commands.options import amount, moment
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.log import configure, log
from marketstate.worker.settings import Settings, settings_from, under_journal
from marketstate.worker.stop import Stop


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "streams",
        nargs="*",
        metavar="STREAM",
        help="a key, or a pattern such as 'candles-BINANCE-*'; default: MARKETSTATE_INPUT_STREAM, "
        "separated by commas",
    )
    parser.add_argument(
        "--to",
        metavar="STREAM",
        help="append to this stream; default: MARKETSTATE_INPUT_STREAM if STREAMs are given, else "
        "its default",
    )
    parser.add_argument(
        "--updates",
        action="store_true",
        help="the streams have updates of running candles: the last one before the next candle "
        "begins is the close, whatever their flags say",
    )
    parser.add_argument(
        "--max-silence",
        type=amount,
        metavar="S",
        help="with --updates: leave out a candle whose last update was written more than S seconds "
        "before its end; default: a twentieth of its interval; inf: use it",
    )
    parser.add_argument(
        "--partitions",
        action="store_true",
        help="bring the entries of one STREAM to the MARKETSTATE_PARTITIONS that their symbols "
        "belong to",
    )
    parser.add_argument(
        "--exchange",
        metavar="NAME",
        help="leave out entries whose field `exchange` has another name",
    )
    parser.add_argument(
        "--from",
        type=moment,
        dest="start",
        default="0",
        metavar="WHEN",
        help="begin new groups after this entry id or time (UTC); default: with all there is",
    )
    parser.add_argument(
        "--group", metavar="NAME", help="read through this group; default: MARKETSTATE_GROUP-gather"
    )
    parser.add_argument(
        "--max-length",
        type=amount,
        default=100_000,
        metavar="N",
        help="keep about N entries in the stream that is appended to; inf: all; default: 100000",
    )
    parser.add_argument(
        "--max-backlog",
        type=amount,
        default=10_000,
        metavar="N",
        help="wait while the workers have more than N unfinished entries; inf: never wait; "
        "default: 10000",
    )


def command(options: argparse.Namespace) -> int:
    settings = settings_from(several_inputs=not options.streams)
    configure("INFO", for_journal=under_journal())
    _refuse_mistakes(options, settings)
    stop = Stop()
    stop.listen()
    counts: Counter[str] = Counter()
    plan = _bridged if options.partitions else _gathered
    sources, begin = plan(options, settings, counts)
    Gatherer(settings, sources, begin, counts, stop).run()
    return 0


def _gathered(
    options: argparse.Namespace, settings: Settings, counts: Counter[str]
) -> tuple[Sources, Callable[[], Session | Bridge]]:
    # What is appended to is one stream, whatever becomes of it then.
    alone = msgspec.structs.replace(settings, partitions=None)
    names, plan = _planned(options, alone, _written_by_workers(alone, *settings.each_partition()))
    sources = Sources(names, _group(options, settings), options.start)
    log.info(
        "gathering %s into %s through the group %s, %s",
        ", ".join(names),
        plan.target,
        sources.group,
        "closing a candle when the next one begins" if plan.updates else "closed candles only",
    )
    return sources, lambda: Session(alone, plan, sources, counts)


def _bridged(
    options: argparse.Namespace, settings: Settings, counts: Counter[str]
) -> tuple[Sources, Callable[[], Session | Bridge]]:
    names = options.streams or settings.input_streams
    if settings.partitions is None:
        raise ConfigurationError(
            "--partitions needs MARKETSTATE_PARTITIONS, as the workers have it"
        )
    if options.updates or options.exchange or options.to:
        raise ConfigurationError(
            "--partitions copies entries as they are to the streams of the workers, so it goes "
            "without --updates, --exchange and --to; if you need those, first gather into one "
            "stream"
        )
    if len(names) != 1 or is_pattern(names[0]):
        raise ConfigurationError(
            f"--partitions needs the key of one stream, not {', '.join(names)!r}: first gather "
            "them into one"
        )
    refuse_own(names, _written_by_workers(*settings.each_partition()))
    sources = Sources(names, _group(options, settings), options.start)
    log.info(
        "bringing %s to %d partitions through the group %s",
        names[0],
        settings.partitions,
        sources.group,
    )
    return sources, lambda: Bridge(
        settings,
        sources,
        counts,
        max_length=options.max_length,
        max_backlog=options.max_backlog,
    )


def _group(options: argparse.Namespace, settings: Settings) -> str:
    return str(options.group or f"{settings.group}-gather")


def _refuse_mistakes(options: argparse.Namespace, settings: Settings) -> None:
    if settings.replay_namespace:
        raise ConfigurationError(
            "MARKETSTATE_REPLAY_NAMESPACE is set: gather has nothing to do with replays"
        )
    if settings.source == "synthetic":
        raise ConfigurationError(
            "MARKETSTATE_SOURCE is synthetic: the workers would not read what is gathered"
        )
    if options.max_silence is not None and not options.updates:
        raise ConfigurationError("--max-silence needs --updates")
    if settings.on_cluster and not options.partitions:
        raise ConfigurationError(
            "on a Redis Cluster, gather can only bring one stream to the partitions: --partitions"
        )
    if options.max_backlog < ENTRIES_AT_ONCE:
        raise ConfigurationError(f"--max-backlog must be at least {ENTRIES_AT_ONCE}")
    if options.max_length < 2 * options.max_backlog and options.max_length < math.inf:
        raise ConfigurationError(
            f"--max-length must be at least twice --max-backlog, so at least "
            f"{2 * options.max_backlog:.0f}: else entries could be trimmed before workers read them"
        )


def _written_by_workers(*groups: Settings) -> dict[str, str]:
    """Key -> what it is, and of partitions the input, too: what would be gathered in circles."""
    found: dict[str, str] = {}
    for each in groups:
        keys = each.keys
        found |= {
            keys.dead_stream: "the stream of dead letters",
            **{one.keys.output_stream: "the stream of states" for one in each.each_interval},
            **dict.fromkeys((keys.notices, keys.handed_over), "a stream of the workers"),
        }
        if each.partition is not None:
            found[keys.input] = "a stream of the workers"
    return found


def _planned(
    options: argparse.Namespace, settings: Settings, own: dict[str, str]
) -> tuple[list[str], Plan]:
    """The streams to gather, and what is done with them. Raises ConfigurationError."""
    names = options.streams or settings.input_streams
    target = options.to or (settings.input_stream if options.streams else INPUT_STREAM)
    refuse_own(names, {target: "the stream to append to", **own})
    plan = Plan(
        target,
        options.updates,
        options.max_silence,
        options.exchange,
        options.max_length,
        options.max_backlog,
    )
    return names, plan
