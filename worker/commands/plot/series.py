"""The states to plot: for each symbol, arrays over time.

They are published states, or are calculated here from closes, as a worker would.
"""

import math
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from marketstate.core.state import NAMES, MarketState
from marketstate.core.theta import Theta
from marketstate.schemas.candle import Candle
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.plot.closed_hours import ClosedHours, Times, closed_hours
from marketstate.worker.commands.plot.marks import Gaps, breaks, changes, gaps
from marketstate.worker.commands.plurals import counted
from marketstate.worker.commands.progress_bar import ProgressBar
from marketstate.worker.commands.regime_words import REGIMES, throughout
from marketstate.worker.commands.starting_over import StartsOver

DRAWN: Final = ("close", "sigma", "mu", "ts", *REGIMES)
FEATURES: Final = ("dp", "vr", "spike_proxy")
NUMBERS: Final = (*DRAWN, *FEATURES)

_QUOTED: Final = re.compile(r"[/_:-]([A-Z]{3,5})\Z|[A-Z0-9]{2}(USDT|USDC|FDUSD|BUSD|TUSD)\Z")

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
PERIODS: Final = {"candle": None, "hour": HOUR_MS, "day": DAY_MS}
"""What sigma may be for."""

# Windows that are calculated at a time: 8 MB of prices.
_AT_A_TIME: Final = 4_096


class Series(NamedTuple):
    """One row per state, by close time."""

    symbol: str
    interval: str
    times_ms: Times
    regime: NDArray[np.str_]
    numbers: dict[str, NDArray[np.float64]]
    """The keys are the names in `NUMBERS`."""
    missing: NDArray[np.int64]
    """Candles missing among those that the state was calculated from, besides closed hours."""
    closed: ClosedHours
    synthetic: int = 0
    """How many of the states are of synthetic prices."""
    is_published: bool = False
    """False if the states were calculated here."""
    sigma_per: str = "candle"

    @property
    def step_ms(self) -> int:
        """The usual time between two states; of a single one, that between candles."""
        return usual_step_ms(self.times_ms) if len(self.times_ms) > 1 else self.candle_ms

    @property
    def candle_ms(self) -> int:
        """The time between two candles."""
        return interval_ms(self.interval) or usual_step_ms(self.times_ms)

    def sigma_for(self, ms: int) -> NDArray[np.float64]:
        """As if moves were independent of each other: variances add up."""
        scaled: NDArray[np.float64] = self.numbers["sigma"] * (ms / self.candle_ms) ** 0.5
        return scaled

    def with_sigma_per(self, period: str) -> "Series":
        """With sigma for a `candle`, `hour` or `day`."""
        sigma = self.sigma_for(PERIODS[period] or self.candle_ms)
        return self._replace(numbers=self.numbers | {"sigma": sigma}, sigma_per=period)

    def with_gaps(self) -> "Series":
        """With an empty row in each gap, where lines break."""
        (before,) = np.nonzero(breaks(self.closed.left_out(self.times_ms)))
        after = before + 1
        return self._replace(
            times_ms=np.insert(self.times_ms, after, self.times_ms[before] + self.step_ms),
            regime=np.insert(self.regime, after, ""),
            numbers={
                name: np.insert(values, after, np.nan) for name, values in self.numbers.items()
            },
            missing=np.insert(self.missing, after, 0),
        )

    @property
    def gaps(self) -> Gaps:
        open_ms = self.closed.left_out(self.times_ms)
        return gaps(self.times_ms, open_ms, self.missing, self.candle_ms)

    def described(self) -> str:
        first, last = (
            datetime.fromtimestamp(ms // 1_000, UTC) for ms in self.times_ms[[0, -1]].tolist()
        )
        return (
            f"{counted(len(self.times_ms), 'state')} of {shown(self.interval)} candles, "
            f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
        )

    def remarks(self) -> Iterator[str]:
        """What else is to be said of these states."""
        count, affected = len(self.times_ms), int(np.count_nonzero(self.missing))
        if self.synthetic:
            yield f"{self.synthetic:,} of {count:,} states are of synthetic prices"
        if affected:
            share = "all" if affected == count else f"{affected:,} of {count:,}"
            most = int(self.missing.max())
            yield f"candles are missing in the windows of {share} states (up to {most:,})"
        if len(lost := self.gaps.candles):
            yield f"{counted(len(lost), 'gap')} of {counted(int(lost.sum()), 'candle')}"
        if len(self.closed.starts_ms):
            yield "closed hours left out"
        if count > 1 and (self.regime == self.regime[0]).all():
            yield throughout(shown(str(self.regime[0])))
        elif changed := len(changes(self.regime)):
            yield f"the regime changes {'once' if changed == 1 else f'{changed:,} times'}"


def quote_currency(symbol: str) -> str:
    """The unit of the price, where the symbol leaves no doubt: `BTCUSDT`, `AAPL/USD`."""
    match = _QUOTED.search(symbol)
    return match[1] or match[2] if match else "quote currency"


def usual_step_ms(times_ms: Times) -> int:
    return int(np.median(np.diff(times_ms))) if len(times_ms) > 1 else 60_000


class _Close(NamedTuple):
    candle: Candle
    number: int
    """Of the closes since the window started over, from 1."""


def of_records(records: Iterable[MarketStateRecord], last: int | None) -> dict[str, Series]:
    """The `last` states of each symbol, or all of them, by symbol."""
    kept: dict[str, deque[MarketStateRecord]] = defaultdict(lambda: deque(maxlen=last))
    for record in records:
        kept[record.symbol].append(record)
    return {symbol: _published(symbol, found) for symbol, found in kept.items()}


def _published(symbol: str, found: Iterable[MarketStateRecord]) -> Series:
    # A group that was removed and began again publishes some of them again.
    by_time = {record.close_time_ms: record for record in found}
    records = [by_time[close_time_ms] for close_time_ms in sorted(by_time)]
    rows = [
        (
            *(record.close, record.sigma, record.mu, record.ts),
            *msgspec.structs.astuple(record.regime_probs),
            *msgspec.structs.astuple(record.features),
        )
        for record in records
    ]
    times_ms = np.array([record.close_time_ms for record in records], np.int64)
    step_ms = usual_step_ms(times_ms)
    closed = closed_hours(times_ms, step_ms)
    missing = np.array([record.missing for record in records], np.int64)
    if len(closed.starts_ms):
        # A record counts what does not trade at night as missing, too.
        windows = records[-1].windows
        candle_ms = interval_ms(records[-1].interval) or step_ms
        closes = max(*windows.trend_windows, windows.regime_window + 1)
        rows_n = -(-closes * candle_ms // step_ms)
        missing = missing_in_windows(times_ms, closed, step_ms, rows_n) * step_ms // candle_ms
    return Series(
        symbol,
        records[-1].interval,
        times_ms,
        np.array([record.regime for record in records]),
        dict(zip(NUMBERS, np.array(rows, np.float64).T, strict=True)),
        missing,
        closed,
        sum(record.source == "synthetic" for record in records),
        is_published=True,
    )


def of_candles(
    candles: Iterable[Candle], theta: Theta, last: int | None, starts_over: StartsOver
) -> dict[str, Series]:
    """The `last` states, or all, of each symbol that has enough closes between two times that its
    window started over. The candles are closed, and those of a symbol come in order.
    """
    market_state = MarketState.of_merged(theta)
    needed = market_state.minimum_length
    every: dict[str, _Kept] = defaultdict(lambda: _Kept(needed, last))
    for candle in candles:
        every[candle.symbol].add(candle, starts_over)
    kept = {symbol: found.closes for symbol, found in every.items()}
    whole = {symbol: _ends_of_windows(found, needed) for symbol, found in kept.items()}
    bar = ProgressBar(sum(map(len, whole.values())), "states")
    done = 0
    series = {}
    for symbol, ends in whole.items():
        candles = [close.candle for close in kept[symbol]]
        parts = []
        for rows in _rows(candles, ends, market_state):
            parts.append(rows)
            done += len(rows)
            bar.show(done)
        if parts:
            series[symbol] = _calculated(candles, ends, np.concatenate(parts), needed)
    bar.end()
    return series


class _Kept:
    """The closes that the last states of a symbol need, and those after them."""

    def __init__(self, needed: int, last: int | None) -> None:
        self.closes: Final[deque[_Close]] = deque()
        self._needed = needed
        self._most = math.inf if last is None else last
        self._states_n = 0

    def add(self, candle: Candle, starts_over: StartsOver) -> None:
        closes, needed, number = self.closes, self._needed, 1
        if closes:
            newest = closes[-1]
            if not starts_over(newest.candle.close_time, candle.close_time):
                number = newest.number + 1
            elif newest.number < needed:
                # No state comes from them.
                for _ in range(newest.number):
                    closes.pop()
        closes.append(_Close(candle, number))
        self._states_n += number >= needed
        while self._states_n > self._most or (
            self._states_n == self._most and closes[needed - 1].number < needed
        ):
            self._states_n -= closes[needed - 1].number >= needed
            closes.popleft()


def _ends_of_windows(closes: Iterable[_Close], needed: int) -> NDArray[np.int64]:
    """The places of the closes that end a window which has not just started over."""
    numbers = np.array([close.number for close in closes], np.int64)
    (ends,) = np.nonzero(numbers[needed - 1 :] >= needed)
    return ends + (needed - 1)


def _rows(
    candles: list[Candle], ends: NDArray[np.int64], market_state: MarketState
) -> Iterator[NDArray[np.float64]]:
    """The numbers of the states, a row for each, some windows at a time."""
    needed = market_state.minimum_length
    if not len(ends):
        return
    closes = np.array([candle.close for candle in candles])
    windows = np.lib.stride_tricks.sliding_window_view(closes, needed)
    for start in range(0, len(ends), _AT_A_TIME):
        rows = market_state.rows(windows[ends[start : start + _AT_A_TIME] - (needed - 1)])
        if rows is not None:
            yield rows


def _calculated(
    candles: list[Candle], ends: NDArray[np.int64], rows: NDArray[np.float64], needed: int
) -> Series:
    closes = np.array([candle.close for candle in candles])
    by_name = dict(zip(NAMES, rows.T, strict=True))
    # The first of equal probabilities, as regime_of has it.
    regime = np.array(REGIMES)[np.argmax([by_name[f"p_{name}"] for name in REGIMES], axis=0)]
    times_ms = np.array([candle.close_time for candle in candles], np.int64)
    interval = candles[-1].interval or ""
    step_ms = interval_ms(interval) or usual_step_ms(times_ms)
    closed = closed_hours(times_ms, step_ms)
    return Series(
        candles[-1].symbol,
        interval or "closed",
        times_ms[ends],
        regime,
        {
            "close": closes[ends],
            **{name: by_name[name] for name in ("sigma", "mu", "ts", *FEATURES)},
            **{name: by_name[f"p_{name}"] for name in REGIMES},
        },
        missing_in_windows(times_ms, closed, step_ms, needed)[ends],
        closed,
    )


def missing_in_windows(
    times_ms: Times, closed: ClosedHours, step_ms: int, rows: int
) -> NDArray[np.int64]:
    """For each time, how many are missing, besides closed hours, among the `rows` up to it."""
    open_ms = closed.left_out(times_ms)
    firsts = np.maximum(np.arange(len(times_ms)) - (rows - 1), 0)
    steps = (open_ms - open_ms[firsts] + step_ms // 2) // step_ms
    missing: NDArray[np.int64] = np.maximum(steps - (np.arange(len(times_ms)) - firsts), 0)
    return missing
