"""What pages and programs get of the markets and the group, as JSON. Pure: it reads nothing.

worker/commands/serve/README.md describes every field.
"""

import math
from collections.abc import Sequence, Set
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from marketstate.core.theta import minimum_length
from marketstate.schemas.longer import interval_stream
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.markets import MOST_RECENT, Market
from marketstate.worker.commands.metrics.reading import Reading
from marketstate.worker.commands.regime_words import REGIMES, what_regimes_are
from marketstate.worker.engine.freshness import conditions, stale_after_s
from marketstate.worker.engine.status import Status
from marketstate.worker.engine.status_of_all import line_of
from marketstate.worker.settings import Settings

SCHEMA: Final = 1
CLOSES_KEPT: Final = 60
"""Of each market, for its sparkline."""
_FILLING_NAMED: Final = 1_000


class StateDocument(Struct, frozen=True):
    time_ms: int
    close: float
    sigma: float
    mu: float
    ts: float
    trend: float
    mr: float
    chop: float
    regime: str
    missing: int
    closes: int
    """In the window."""


class MarketDocument(Struct, frozen=True):
    symbol: str
    since_ms: int
    since_known: bool
    synthetic: bool
    states: list[StateDocument]
    """Those that are new to the reader, oldest first; the last one is the current state."""
    recent: list[float] | UnsetType = UNSET
    """The closes before these, where the reader must forget those that it has."""


class WorkerDocument(Struct, frozen=True):
    id: str
    shards: int
    seen_s_ago: float


class PartitionDocument(Struct, frozen=True):
    tag: str
    trouble: str


class GroupDocument(Struct, frozen=True, kw_only=True):
    """A number that is not known is None."""

    read_ms: float | None = None
    """When the group was last read, by our clock."""
    trouble: str = ""
    """Why Redis, or some partitions, cannot be read."""
    status_trouble: str = ""
    """Why the group cannot be read although Redis answers."""
    healthy: bool = False
    health: str = "nothing has been read yet"
    workers: list[WorkerDocument] = []
    workers_holding: int | None = None
    shards: int | None = None
    shards_held: int | None = None
    lag: int | None = None
    lag_at_least: bool = False
    pending: int | None = None
    oldest_unfinished_s: float | None = None
    states_per_min: int | None = 0
    """Not known while it is `catching_up`."""
    candles_per_min: float | None = None
    dead_letters: int | None = None
    lost: int | None = None
    symbols: dict[str, int] | None = None
    filling: list[str] = []
    set_aside: dict[str, str] = {}
    unreadable: int = 0
    catching_up: bool = False
    """States come so fast that some are left out, until all are read again."""
    synthetic: bool = False
    partitions: list[PartitionDocument] = []
    """Those that need a look."""


def of_settings(settings: Settings, intervals: Sequence[str]) -> dict[str, Any]:
    """`settings` are those of one of these intervals."""
    stale_s = stale_after_s(settings)
    stream, longer = settings.output_stream, settings.longer_interval
    if longer:
        stream = interval_stream(stream, longer)
    return {
        "group": settings.group,
        "namespace": settings.replay_namespace,
        "input_stream": settings.input_stream,
        "output_stream": stream,
        "source": settings.source,
        "interval": settings.candle_interval,
        "intervals": intervals,
        "partitions": settings.partitions,
        "publish_interval_s": settings.publish_interval,
        "state_step_s": settings.state_step_ms / 1_000,
        "stale_after_s": stale_s if stale_s < math.inf else None,
        "closes_needed": minimum_length(settings.theta),
        "window_size": settings.window_size,
        "regimes": REGIMES,
        "meaning": what_regimes_are(settings.theta),
        "closes_kept": CLOSES_KEPT,
        "states_kept": MOST_RECENT,
    }


def of_market(market: Market, states: int, *, whole: bool) -> MarketDocument:
    """With its last `states`; whole, with the closes before these, too."""
    shown = market.recent[-states:]
    before = market.recent[-CLOSES_KEPT:-states] if whole else ()
    return MarketDocument(
        market.record.symbol,
        market.since_ms,
        market.since_known,
        market.record.source == "synthetic",
        [_state(record) for record in shown],
        [record.close for record in before] if whole else UNSET,
    )


def _state(record: MarketStateRecord) -> StateDocument:
    probs = record.regime_probs
    return StateDocument(
        *(record.close_time_ms, record.close, record.sigma, record.mu, record.ts),
        *(probs.trend, probs.mr, probs.chop),
        *(record.regime, record.missing, record.buffer_size),
    )


def of_group(reading: Reading, status: Status | None) -> GroupDocument:
    """What the reading itself says, and `status`, the sum of its partitions, if any was read; the
    rest stays as it is by default.
    """
    settings, answers = reading.settings, reading.of_status
    lines = [line_of(answer) for answer in answers] if settings.partitions else []
    document = GroupDocument(
        partitions=[
            PartitionDocument(line.partition, line.needs_a_look)
            for line in lines
            if line.needs_a_look
        ],
    )
    if status is None:
        return document
    found = [answer.found for answer in reading.answers if answer.found is not None]
    return replace(
        document,
        read_ms=reading.read_s * 1_000,
        workers=[
            WorkerDocument(one.worker_id, one.shards_held, one.seen_s_ago) for one in status.workers
        ],
        workers_holding=sum(one.holds_shards for one in status.workers),
        shards=len(status.shards),
        shards_held=sum(one.holder is not None for one in status.shards),
        lag=status.lag,
        lag_at_least=status.lag_at_least,
        pending=status.pending,
        oldest_unfinished_s=status.oldest_unfinished_s,
        dead_letters=sum(one.dead_letters for one in found),
        lost=status.counters.get("lost", 0),
        symbols=conditions(status.symbols, settings),
        filling=sorted(one.symbol for one in status.symbols if one.age_s is None)[:_FILLING_NAMED],
        set_aside=status.quarantine,
        synthetic=any(one.synthetic for one in found),
    )


def of_longer(
    group: GroupDocument, longer: Settings, status: Status, markets: Set[str]
) -> GroupDocument:
    """The same with the symbols of a longer interval; `markets` are those that have a state."""
    (counts,) = (one for one in status.intervals if one.interval == longer.candle_interval)
    filling = {one.symbol for one in status.symbols} - markets
    return replace(
        group,
        symbols={"fresh": counts.fresh, "stale": counts.stale, "filling": counts.filling},
        filling=sorted(filling)[:_FILLING_NAMED],
    )
