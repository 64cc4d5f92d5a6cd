"""The metrics of each symbol, which are those of its latest state."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.metrics.metric import Labels, gauge


def of_symbols(
    prefix: str, records: Sequence[tuple[Labels, MarketStateRecord]]
) -> Iterator[Metric]:
    """Without samples if there are no `records`; `prefix` is what their names begin with."""
    yield gauge(
        f"{prefix}last_close_timestamp_seconds",
        "Close time of the last state of the symbol.",
        [(labels, record.close_time_ms / 1_000) for labels, record in records],
    )
    for name, what in {
        "sigma": "Volatility per candle, in log price.",
        "mu": "Drift per candle, in log price.",
        "ts": "Strength of the trend: the drift against the noise.",
    }.items():
        numbers = [(labels, getattr(record, name)) for labels, record in records]
        yield gauge(f"{prefix}{name}", what, numbers)
    yield gauge(
        f"{prefix}regime_probability",
        "Probability of each regime of the symbol.",
        [
            (labels | {"regime": regime}, probability)
            for labels, record in records
            for regime, probability in (
                ("trend", record.regime_probs.trend),
                ("mr", record.regime_probs.mr),
                ("chop", record.regime_probs.chop),
            )
        ],
    )
