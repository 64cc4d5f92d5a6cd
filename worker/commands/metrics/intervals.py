"""The metrics of longer intervals, with a label `interval`.

They have names of their own, so that no sum over the metrics of the candle interval, in an alarm or
in a dashboard, counts a symbol several times.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import Metric

from marketstate.worker.commands.metrics.metric import Labels, Part, counter, gauge
from marketstate.worker.commands.metrics.symbols import of_symbols
from marketstate.worker.engine.freshness import IntervalStatus

_PREFIX: Final = "interval_"
# Of counters: the name in the status, the name here, and what it counts.
_COUNTERS: Final = (
    ("emitted", "states_emitted", "States of a longer interval that were published."),
    ("gaps", "gaps", "Jumps over missing candles of a longer interval."),
    ("restarted", "windows_restarted", "Windows of a longer interval that started over."),
)


def of_intervals(parts: Sequence[Part]) -> Iterator[Metric]:
    every = [
        (part.labels | {"interval": one.interval}, one)
        for part in parts
        for one in part.found.status.intervals
    ]
    for of_status, name, what in _COUNTERS:
        counts = [(labels, getattr(one, of_status)) for labels, one in every]
        yield counter(f"{_PREFIX}{name}", what, counts)
    yield gauge(
        f"{_PREFIX}symbols",
        "Symbols whose last state of a longer interval is fresh, or stale since more than one is "
        "overdue; or whose window is filling, so that they have none.",
        [sample for labels, one in every for sample in _conditions(labels, one)],
    )
    yield gauge(
        f"{_PREFIX}last_state_timestamp_seconds",
        "Close time of the newest state of a longer interval; absent before the first.",
        [
            (labels, one.last_emitted_ms / 1_000)
            for labels, one in every
            if one.last_emitted_ms is not None
        ],
    )
    records = [
        (part.labels | {"interval": interval, "symbol": symbol}, record)
        for part in parts
        for interval, of_interval in part.found.longer.items()
        for symbol, record in of_interval
    ]
    yield from of_symbols(_PREFIX, records)


def _conditions(labels: Labels, one: IntervalStatus) -> Iterator[tuple[Labels, float]]:
    for condition in ("fresh", "stale", "filling"):
        yield labels | {"status": condition}, getattr(one, condition)
