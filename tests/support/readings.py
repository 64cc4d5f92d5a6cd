"""Made readings for `marketstate metrics`, of one partition or several."""

from typing import Any, Final

from msgspec.structs import replace

from marketstate.schemas.market_state import (
    Features,
    MarketStateRecord,
    RegimeProbs,
    TsComponents,
    Windows,
)
from marketstate.worker.commands.metrics.reading import Found, Reading
from marketstate.worker.engine.all_partitions import Answer
from marketstate.worker.engine.freshness import IntervalStatus, SymbolStatus
from marketstate.worker.engine.status import ShardStatus, Status, WorkerStatus
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.settings import Settings, settings_from

NOW_S: Final = 1_764_122_700.0
# What a line of the format may not have as it is, and what a page may not.
ODD: Final = 'a"b\\c\nd<script>é'


def status(**changes: Any) -> Status:
    given: dict[str, Any] = {
        "group": "marketstate",
        "stream": "in",
        "lag": 7,
        "lag_at_least": False,
        "pending": 3,
        "oldest_unfinished_s": 1.5,
        "shards": [ShardStatus(0, "w1", 4, 9.5, 3, 1), ShardStatus(1, None, None, None, 0, 2)],
        "workers": [WorkerStatus("w1", [0], 2.0), WorkerStatus("idle", [], 3.0)],
        "counters": {"applied": 500, "gap": 2, "emitted": 40, "retired": 1},
        "broken_commits": [],
        "symbols": [
            SymbolStatus("NEW", None, None),
            SymbolStatus("OLD", 1_764_122_500_000, 200.0),
            SymbolStatus(ODD, 1_764_122_699_999, 0.001),
        ],
        "quarantine": {"OLD": "damaged"},
        "quarantine_hidden": "",
        "read_ms": NOW_S * 1_000,
    }
    return Status(**given | changes)


def record(symbol: str) -> MarketStateRecord:
    return MarketStateRecord(
        symbol=symbol,
        interval="1m",
        source="candles",
        close_time_ms=1_764_122_699_999,
        close=100.0,
        sigma=0.25,
        mu=-0.5,
        ts=0.125,
        regime="mr",
        regime_probs=RegimeProbs(0.25, 0.5, 0.25),
        features=Features(0.0, 1.0, 0.0),
        windows=Windows(1, [1], 1),
        ts_components=TsComponents(1.0, 1.0),
        buffer_size=300,
        theta_hash="ab",
    )


def reading(*answers: Found | None, settings: Settings | None = None) -> Reading:
    """With several answers, of that many partitions; None is one that cannot be read."""
    used = settings or settings_from({})
    several = replace(used, partitions=len(answers)) if len(answers) > 1 else used
    every = [
        Answer(part, found, "" if found else "away")
        for part, found in zip(several.each_partition(), answers, strict=True)
    ]
    return Reading(used, NOW_S, every, None if all(answers) else RedisUnusable("away"))


FIVE_MINUTES: Final = IntervalStatus(
    *("5m", 90, 3, 1),
    fresh=1,
    stale=2,
    filling=4,
    last_emitted_ms=1_764_122_699_999,
    age_s=0.001,
)
FOUR_HOURS: Final = IntervalStatus("4h", 0, 0, 0, 0, 0, 7, None, None)


def found(of: Status | None = None, records: tuple[MarketStateRecord, ...] = ()) -> Found:
    named = [(each.symbol, each) for each in records]
    return Found(of or status(), 5, False, "7.0.15", named)
