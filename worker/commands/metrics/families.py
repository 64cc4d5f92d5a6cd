"""The metrics of a reading, in the format of Prometheus. Pure: it reads nothing.

With partitions, what each of them has is labelled with its tag, so that the numbers of the others
stay whole while one cannot be read. Sums are for PromQL.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import Metric

from marketstate.core import kernel
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.metrics.intervals import of_intervals
from marketstate.worker.commands.metrics.metric import Labels, Part, counter, gauge
from marketstate.worker.commands.metrics.reading import Reading
from marketstate.worker.commands.metrics.symbols import of_symbols
from marketstate.worker.engine.changes import ENDS
from marketstate.worker.engine.freshness import conditions

# Of counters: the name in Redis, the name here, and what it counts.
_COUNTERS: Final = (
    ("emitted", "states_emitted", "States that were published."),
    ("gap", "gaps", "Jumps over missing candles."),
    ("restarted", "windows_restarted", "Windows that started over after a long gap."),
    ("window_lost", "windows_lost", "Windows that somebody deleted or that were evicted."),
    ("retired", "symbols_retired", "Symbols that were silent for long and left memory and Redis."),
    ("quarantined", "entries_of_symbols_set_aside", "Entries of symbols that are set aside."),
)


class Families:
    """Metrics as prometheus_client collects them: for its `generate_latest` and the like."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def text(reading: Reading) -> bytes:
    return generate_latest(families(reading))


def families(reading: Reading) -> Families:
    return Families(metric for metric in _metrics(reading) if metric.samples)


def _metrics(reading: Reading) -> Iterator[Metric]:
    yield from _of_reading(reading)
    every = [
        Part(_partition(answer.tag), answer.found)
        for answer in reading.answers
        if answer.found is not None
    ]
    yield from _backlog(every)
    yield from _counters(every)
    yield from _workers(every)
    yield from _symbols(reading, every)
    yield from of_symbols("", _records(every))
    yield from of_intervals(every)


def _of_reading(reading: Reading) -> Iterator[Metric]:
    settings = reading.settings
    versions = [answer.found.redis_version for answer in reading.answers if answer.found]
    built = {
        "version": version("marketstate-worker"),
        "kernel": "compiled" if kernel.is_compiled() else "numpy",
        "redis_version": versions[0] if versions else "",
    }
    yield gauge(
        "build_info", "Always 1; versions of what is read, and of the reader.", [(built, 1)]
    )
    chosen = {
        "group": settings.group,
        "input_stream": settings.input_stream,
        "interval": settings.candle_interval,
        "publish_interval": str(settings.publish_interval),
        "source": settings.source,
        "symbols": settings.symbols,
        "theta_hash": settings.theta_hash,
        "window_size": str(settings.window_size),
    }
    yield gauge("settings_info", "Always 1; the settings of the reader.", [(chosen, 1)])
    yield gauge(
        "read_timestamp_seconds",
        "When these numbers were read, by the clock of the reader.",
        [({}, reading.read_s)],
    )
    yield gauge(
        "up",
        "Whether the group could be read.",
        [(_partition(answer.tag), answer.found is not None) for answer in reading.answers],
    )


def _backlog(every: list[Part]) -> Iterator[Metric]:
    lags = [(part, part.found.status.lag_at_least) for part in every]
    yield gauge(
        "group_lag",
        "Entries that no worker has taken; absent while Redis does not know the number.",
        [(part.labels, part.found.status.lag) for part, at_least in lags if not at_least],
    )
    yield gauge(
        "group_lag_at_least",
        "Entries that no worker has taken, while Redis does not know the number: there are more.",
        [(part.labels, part.found.status.lag) for part, at_least in lags if at_least],
    )
    yield gauge(
        "group_pending",
        "Entries that were taken and are not finished.",
        [(part.labels, part.found.status.pending) for part in every],
    )
    yield gauge(
        "oldest_unfinished_seconds",
        "Age of the oldest entry that is not finished, taken or not; 0 if there is none.",
        [(part.labels, part.found.status.oldest_unfinished_s) for part in every],
    )
    yield gauge(
        "dead_letters",
        "Entries in the stream of dead letters, which is trimmed.",
        [(part.labels, part.found.dead_letters) for part in every],
    )
    yield gauge(
        "broken_commits",
        "Commits that broke off, until the next holder of their shards completes them.",
        [(part.labels, len(part.found.status.broken_commits)) for part in every],
    )


def _counters(every: list[Part]) -> Iterator[Metric]:
    yield counter(
        "entries",
        "Entries that are finished, by what became of them.",
        [
            (part.labels | {"result": end}, part.found.status.counters.get(end, 0))
            for part in every
            for end in ENDS
        ],
    )
    for of_redis, name, what in _COUNTERS:
        counts = [(part.labels, part.found.status.counters.get(of_redis, 0)) for part in every]
        yield counter(name, what, counts)


def _workers(every: list[Part]) -> Iterator[Metric]:
    holders = {
        one.worker_id for part in every for one in part.found.status.workers if one.holds_shards
    }
    seen_s: dict[str, float] = {}
    for part in every:
        status = part.found.status
        for one in status.workers:
            at_s = status.read_ms / 1_000 - one.seen_s_ago
            seen_s[one.worker_id] = max(at_s, seen_s.get(one.worker_id, at_s))
    if every:
        yield gauge("workers", "Workers that hold a shard.", [({}, len(holders))])
    yield gauge(
        "worker_last_seen_timestamp_seconds",
        "When a worker last renewed its membership, by the clock of Redis.",
        [({"worker": worker}, at_s) for worker, at_s in sorted(seen_s.items())],
    )
    shards = [
        (part.labels | {"shard": f"{one.shard:02d}"}, one)
        for part in every
        for one in part.found.status.shards
    ]
    yield gauge(
        "shard_held",
        "Whether a worker holds the shard.",
        [(labels, one.holder is not None) for labels, one in shards],
    )
    yield gauge(
        "shard_pending",
        "Entries that were handed to the shard and are not finished.",
        [(labels, one.pending) for labels, one in shards],
    )


def _symbols(reading: Reading, every: list[Part]) -> Iterator[Metric]:
    kinds = [
        (part.labels | {"status": condition}, count)
        for part in every
        for condition, count in conditions(part.found.status.symbols, reading.settings).items()
    ]
    yield gauge(
        "symbols",
        "Symbols whose last state is fresh, or stale since more than one is overdue; or whose "
        "window is filling, so that they have none.",
        kinds,
    )
    yield gauge(
        "symbols_set_aside",
        "Symbols that are set aside because their keys in Redis are damaged.",
        [(part.labels, len(part.found.status.quarantine)) for part in every],
    )
    newest_ms = (
        (
            part.labels,
            max((one.last_emitted_ms or 0 for one in part.found.status.symbols), default=0),
        )
        for part in every
    )
    yield gauge(
        "last_state_timestamp_seconds",
        "Close time of the newest state of all symbols; absent before the first.",
        [(labels, ms / 1_000) for labels, ms in newest_ms if ms],
    )
    yield gauge(
        "synthetic",
        "Whether states of invented prices are published to these keys.",
        [(part.labels, part.found.synthetic) for part in every],
    )


def _records(every: list[Part]) -> list[tuple[Labels, MarketStateRecord]]:
    return [
        (part.labels | {"symbol": symbol}, record)
        for part in every
        for symbol, record in part.found.records
    ]


def _partition(tag: str) -> Labels:
    return {"partition": tag} if tag else {}
