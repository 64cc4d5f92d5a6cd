"""The rows of a history file, as `marketstate history` writes them: one for each published state.

A row has all that is in the record of its state, and `record_of` makes the record of it again, to
the same bytes. In Parquet and Arrow files, the metadata of the schema has under METADATA_KEY what
`About` says as JSON, and that of each column its unit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from marketstate.schemas.market_state import (
    SCHEMA_VERSION,
    Features,
    MarketStateRecord,
    RegimeProbs,
    TsComponents,
    Windows,
)

FORMAT_VERSION: Final = 1
METADATA_KEY: Final = "marketstate"
UNIT_KEY: Final = "unit"


class Column(NamedTuple):
    name: str
    kind: Literal["text", "time", "number", "count"]
    """`time` is ms since 1970 (UTC), `number` is a float64, `count` a whole number."""
    unit: str = ""
    """Empty for text."""


COLUMNS: Final = (
    Column("theta", "text"),
    Column("interval", "text"),
    Column("symbol", "text"),
    Column("close_time", "time", "ms since 1970, UTC"),
    Column("close", "number", "quote currency"),
    Column("sigma", "number", "log price per candle"),
    Column("mu", "number", "log price per candle"),
    *(
        Column(name, "number", "1")
        for name in ("ts", "p_trend", "p_mr", "p_chop", "dp", "vr", "spike_proxy")
    ),
    Column("regime", "text"),
    Column("reason", "text"),
    Column("buffer_size", "count", "candles"),
    Column("missing", "count", "candles"),
    Column("source", "text"),
    Column("theta_hash", "text"),
)
"""In their order."""


class ThetaUsed(msgspec.Struct, frozen=True):
    """The parameters of one run."""

    name: str
    """As in the column `theta`."""
    hash: str
    parameters: dict[str, Any]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a whole file."""

    format: int = FORMAT_VERSION
    version: str
    """Of the program that wrote it."""
    schema: int = SCHEMA_VERSION
    """Of the records."""
    thetas: Sequence[ThetaUsed]


def record_of(row: Mapping[str, Any], parameters: Mapping[str, Any]) -> MarketStateRecord:
    """The record of a row, whose `close_time` is a whole number of ms, with the parameters of its
    theta.
    """
    return MarketStateRecord(
        symbol=row["symbol"],
        interval=row["interval"],
        source=row["source"],
        close_time_ms=row["close_time"],
        close=row["close"],
        sigma=row["sigma"],
        mu=row["mu"],
        ts=row["ts"],
        regime=row["regime"],
        regime_probs=RegimeProbs(row["p_trend"], row["p_mr"], row["p_chop"]),
        features=Features(row["dp"], row["vr"], row["spike_proxy"]),
        windows=Windows(
            row["buffer_size"] - 1, parameters["trend"]["windows"], parameters["regime"]["window"]
        ),
        ts_components=TsComponents(mu_abs=abs(row["mu"]), sigma_used=row["sigma"]),
        buffer_size=row["buffer_size"],
        theta_hash=row["theta_hash"],
        reason=row["reason"],
        missing=row["missing"],
    )
