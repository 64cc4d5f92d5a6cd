"""One metric with its samples, in the format of Prometheus."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from prometheus_client.core import Metric

from marketstate.worker.commands.metrics.reading import Found

Labels = dict[str, str]
Sample = tuple[Labels, float]

PREFIX: Final = "marketstate_"


class Part(NamedTuple):
    labels: Labels
    """Its tag; empty without partitions."""
    found: Found


def gauge(name: str, what: str, samples: Iterable[Sample]) -> Metric:
    return _metric("gauge", name, "", what, samples)


def counter(name: str, what: str, samples: Iterable[Sample]) -> Metric:
    return _metric("counter", name, "_total", what, samples)


def _metric(kind: str, name: str, suffix: str, what: str, samples: Iterable[Sample]) -> Metric:
    metric = Metric(PREFIX + name, what, kind)
    for labels, value in samples:
        metric.add_sample(PREFIX + name + suffix, labels, value)
    return metric
