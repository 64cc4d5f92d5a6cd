"""`marketstate verify`: checks that published states are correct and fresh, and the group keeps up.

It only reads. It prints one line per check, and one line per problem with a single symbol. Workers
may run at the same time: data that must be consistent is read at one moment, if Redis allows it.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any, Final

import msgspec

from marketstate.worker.commands.durations import brief_duration
from marketstate.worker.commands.extras import without_extra
from marketstate.worker.commands.folding import folded
from marketstate.worker.commands.invented_anywhere import invented_anywhere
from marketstate.worker.commands.options import add_namespace, amount, textfile
from marketstate.worker.commands.verify.against import compare
from marketstate.worker.commands.verify.partition_checks import (
    checks_of_partition,
    has_published,
    output_of_longer,
)
from marketstate.worker.commands.verify.recompute import Judge
from marketstate.worker.commands.verify.symbol_checks import (
    KEYS,
    OfSymbols,
    judge_all,
    published_symbols,
    summaries,
)
from marketstate.worker.engine.all_partitions import AllPartitions, Answer
from marketstate.worker.engine.broken_commits import TO_COMPLETE
from marketstate.worker.engine.freshness import stale_after_s
from marketstate.worker.engine.group import look
from marketstate.worker.engine.preflight import Finding
from marketstate.worker.engine.status import Status, enough_for, read_status
from marketstate.worker.engine.status_of_all import free_shards, summed
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.errors import CheckFailed, WorkerError
from marketstate.worker.files.piped import readable_path
from marketstate.worker.settings import Settings, settings_from
from marketstate.worker.store.connection import Client
from marketstate.worker.store.scripts import Scripts

# A single late entry is normal, and the shards of a dead worker wait for one lease time.
MAX_AGE_IN_LEASES: Final = 2
NO_WORKER: Final = "no worker holds a shard; start one"
# Checks of single partitions and symbols that have no line of their own.
_CANDLES: Final = "candles"
_PARTITIONS: Final = "partitions"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, one object per line")
    parser.add_argument(
        "--max-lag",
        type=amount,
        default=math.inf,
        metavar="N",
        help="fail if more than N entries are unfinished (lag + pending)",
    )
    parser.add_argument(
        "--max-age",
        type=amount,
        metavar="S",
        help="fail if the oldest unfinished entry is more than S seconds old; default: two lease "
        "times",
    )
    parser.add_argument(
        "--max-state-age",
        type=amount,
        metavar="S",
        help="fail if the last state of a symbol is for a close more than S seconds ago, or if the "
        "output stream has not grown for S seconds; default: twice the time between two states, "
        "which is the least for longer intervals; in a replay: no bound; use inf while markets are "
        "closed",
    )
    parser.add_argument(
        "--ignore",
        default="",
        metavar="SYMBOLS",
        help="comma-separated symbols that no longer trade, whose last state stays old",
    )
    one_of = parser.add_mutually_exclusive_group()
    one_of.add_argument(
        "--textfile",
        type=textfile,
        metavar="FILE",
        help="also replace this file by metrics of the outcome, for the textfile collector of "
        "node_exporter; it ends in .prom",
    )
    one_of.add_argument(
        "--against",
        type=readable_path,
        metavar="RECORDING",
        help="only compare the records in the output stream with a recording of one",
    )
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    write_outcome = _writer() if options.textfile else None
    findings: list[Finding] = []
    exit_code = 0
    try:
        settings = settings_from(namespace=options.namespace)
        for finding in _chosen(settings, options):
            findings.append(finding)
            _show(finding, options.json)
            if finding.verdict == "FAIL":
                exit_code = CheckFailed.exit_code
    except WorkerError as error:
        findings.append(Finding("FAIL", "verify", str(error)))
        _show(findings[-1], options.json)
        exit_code = error.exit_code
    if write_outcome is not None:
        write_outcome(options.textfile, findings)
    return exit_code


def _writer() -> Callable[[Path, Sequence[Finding]], None]:
    with without_extra("metrics", "--textfile"):
        # Here, because a run without it needs no package.
        from marketstate.worker.commands.verify.outcome import write_outcome  # noqa: PLC0415
    return write_outcome


def _chosen(settings: Settings, options: argparse.Namespace) -> Iterator[Finding]:
    if options.against:
        return compare(settings, options.against)
    return verify(
        settings,
        max_lag=options.max_lag,
        max_age_s=options.max_age,
        max_state_age_s=options.max_state_age,
        ignored=frozenset(map(str.strip, options.ignore.split(","))),
    )


def _show(finding: Finding, as_json: bool) -> None:
    text = str(finding)
    if as_json:
        text = msgspec.json.encode(finding._replace(check=finding.checked)._asdict()).decode()
    print(text, flush=True)


def verify(
    settings: Settings,
    *,
    max_lag: float = math.inf,
    max_age_s: float | None = None,
    max_state_age_s: float | None = None,
    ignored: frozenset[str] = frozenset(),
) -> Iterator[Finding]:
    """Raises RedisUnusable if there is no group, and ConfigurationMismatch if its workers have
    other settings, because then nothing could be recomputed.
    """
    if max_age_s is None:
        max_age_s = MAX_AGE_IN_LEASES * settings.lease_seconds

    def most_s(each: Settings) -> float:
        """How old a state of this interval may be."""
        if max_state_age_s is None:
            return stale_after_s(each)
        return max(max_state_age_s, stale_after_s(each) if each.longer_interval else 0)

    every, unread = AllPartitions(settings, asks_again=False), set[str]()
    try:
        yield from invented_anywhere(every, settings)
        answers = every.ask(lambda client, part: _status(client, part, max_lag))
        statuses = {each.settings.keys.input: each.found for each in answers if each.found}
        status = summed(settings, answers)
        yield from _unread(answers, unread)
        yield _backlog(status, max_lag, max_age_s)
        yield _holders(status, settings)
        yield from _commits(status)
        yield from _lost_and_dead(status, settings)
        yield from _late(status)

        def judge(client: Client, part: Settings) -> list[Finding]:
            """What a sum would hide."""
            own = statuses.get(part.keys.input)
            if own is None:
                return []
            return [
                *checks_of_partition(client, part, own, most_s(part)),
                *(output_of_longer(client, each, most_s(each)) for each in part.longer),
            ]

        judged = every.ask(judge)
        yield from _unread(judged, unread)
        found = [(each.tag, each.found or []) for each in judged]
        yield from folded(found, settings.partitions)
        aside = {symbol: why for symbol, why in status.quarantine.items() if symbol not in ignored}
        if status.quarantine_hidden:
            yield Finding("warn", "quarantine", status.quarantine_hidden)
        for symbol, why in aside.items():
            yield Finding("FAIL", symbol, f"is set aside: {why}", KEYS)
        symbols = {one.symbol for one in status.symbols} | ignored
        yield from _without_candles(settings, symbols, unread)

        def judge_symbols(client: Client, part: Settings) -> list[OfSymbols]:
            own = statuses.get(part.keys.input)
            if own is None:
                return []
            left_out, no_newer = ignored | aside.keys(), _why_no_newer(own)
            return [
                judge_all(
                    client,
                    each,
                    _tracked(client, each, own) - left_out,
                    Judge(each, most_s(each), no_newer),
                )
                for each in part.each_interval
            ]

        of_symbols = every.ask(judge_symbols)
        yield from _unread(of_symbols, unread)
        yield from summaries([one for each in of_symbols for one in each.found or ()])
    finally:
        every.close()


def _tracked(client: Client, settings: Settings, status: Status) -> set[str]:
    """The symbols to judge in the interval of these settings."""
    symbols = {one.symbol for one in status.symbols}
    if settings.longer_interval:
        symbols = set(published_symbols(client, settings))
    return symbols if settings.wanted_symbols is None else symbols & settings.wanted_symbols


def _unread(answers: Iterable[Answer[Any]], told: set[str]) -> Iterator[Finding]:
    """Each partition once: one whose node is away answers none of our questions."""
    for each in answers:
        if each.trouble and each.tag not in told:
            told.add(each.tag)
            yield Finding("FAIL", each.tag, f"cannot be read: {each.trouble}", _PARTITIONS)


def _why_no_newer(status: Status) -> str:
    """Why no newer close of a symbol has been processed, as far as the whole group explains it."""
    if all(shard.holder is None for shard in status.shards):
        return NO_WORKER
    if status.backlog:
        return f"the workers are behind: lag {status.lag_in_words}, pending {status.pending}"
    return "no candle has arrived since; check the upstream"


def _status(client: Client, settings: Settings, max_lag: float) -> Status:
    """The status of the group, which a worker with our settings must be able to join."""
    status = read_status(client, settings, enough_for(max_lag))
    look(Scripts(client, settings.keys), settings)
    return status


def _backlog(status: Status, max_lag: float, max_age_s: float) -> Finding:
    text = f"lag {status.lag_in_words}, pending {status.pending}"
    if status.backlog:
        text += f"; the oldest unfinished entry is {brief_duration(status.oldest_unfinished_s)} old"
    if status.backlog > max_lag:
        return Finding("FAIL", "backlog", f"{text}; allowed: {max_lag:g} entries")
    if status.oldest_unfinished_s > max_age_s:
        return Finding("FAIL", "backlog", f"{text}; allowed: {max_age_s:g}s")
    return Finding("ok", "backlog", text)


def _holders(status: Status, settings: Settings) -> Finding:
    free = free_shards(status.shards)
    held = len(status.shards) - sum(map(len, free.values()))
    if held == 0 and settings.replay_namespace and status.backlog == 0:
        return Finding("skip", "workers", "none, and the replay is finished")
    if held == 0:
        return Finding("FAIL", "workers", NO_WORKER)
    holders = {shard.holder for shard in status.shards if shard.holder}
    text = f"{len(holders)} hold {held} of {len(status.shards)} shards"
    if free:
        # Normal for a moment when workers stop or start; the backlog shows if it lasts.
        every = (f"{tag} {shard}".lstrip() for tag in free for shard in free[tag])
        return Finding("warn", "workers", f"{text}; free: {', '.join(every)}")
    return Finding("ok", "workers", text)


def _commits(status: Status) -> Iterator[Finding]:
    for commit in status.broken_commits:
        yield Finding("FAIL", "commits", f"{commit}; {TO_COMPLETE}")


def _lost_and_dead(status: Status, settings: Settings) -> Iterator[Finding]:
    meanings = {
        "dead": f"could not be read; see {keys_of_all(settings).dead_stream}",
        "lost": "trimmed by the upstream, or acknowledged by others, before a worker read them",
    }
    for counter, meaning in meanings.items():
        count = status.counters.get(counter, 0)
        yield Finding(
            "warn" if count else "ok", counter, f"{count:,} {meaning}" if count else "none"
        )


def _late(status: Status) -> Iterator[Finding]:
    """Afterwards, late candles are only counted: there may be some whenever a feed starts again."""
    late = status.counters.get("late", 0)
    if late and not has_published(status):
        text = (
            f"{late} candles were older than the last one of their symbol, so they are not applied "
            "and no symbol has a state. Older candles must come before newer ones: put them into "
            "a cache, see deploy/README.md, No state yet"
        )
        yield Finding("warn", "late", text)


def _without_candles(settings: Settings, symbols: Set[str], unread: Set[str]) -> Iterator[Finding]:
    """`unread` are the tags of the partitions that cannot be read."""
    for symbol in sorted((settings.wanted_symbols or frozenset()) - symbols):
        own = next(part.tag for part in settings.each_partition() if part.has(symbol))
        if own in unread:
            yield Finding("skip", symbol, f"cannot be judged: {own} cannot be read", _CANDLES)
        else:
            yield Finding("warn", symbol, "no candle has arrived yet", _CANDLES)
