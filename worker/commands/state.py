"""`marketstate state`: calculates and explains the state of a price file or of synthetic prices.

It needs no Redis. The parameters come from the settings (MARKETSTATE_THETA_FILE).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from core.regime import regime_of
from core.state import MarketState, State
from worker.commands.state_in_words import reading
from worker.engine.synthetic import CANDLES_AT_START, price
from worker.engine.utc import utc
from worker.errors import ConfigurationError
from worker.files.prices import Prices, read_prices
from worker.settings import settings_from

# Symbols whose synthetic prices behave this way.
SYNTHETIC: Final = {"trend": "BTCUSDT", "mean_revert": "ETHUSDT", "chop": "SOLUSDT"}
# Arbitrary, but fixed, so that the output is always the same.
_SYNTHETIC_END_MS: Final = 1_767_268_800_000 - 1
_MINUTE_MS: Final = 60_000


def add_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="CSV, plain or gzipped: one price per line, or candles",
    )
    source.add_argument("--synthetic", choices=SYNTHETIC, help="300 synthetic prices of this kind")
    parser.add_argument("--json", action="store_true", help="print JSON, at full precision")


def command(options: argparse.Namespace) -> int:
    market_state = MarketState.of_merged(settings_from().theta)
    prices = _synthetic(options.synthetic) if options.synthetic else read_prices(options.file)
    state = market_state.get_state(prices.symbol, prices.closes)
    if state is None:
        raise ConfigurationError(
            f"{options.file or 'the synthetic source'} has {len(prices.closes)} prices; "
            f"a state needs {market_state.minimum_length} or more"
        )
    words = list(reading(state, market_state.theta["vol"]["sigma_floor"]))
    if options.json:
        print(_json(prices, state, words))
    else:
        print("\n".join([*_lines(prices, state), "", *words]))
    return 0


def _synthetic(kind: str) -> Prices:
    symbol = SYNTHETIC[kind]
    first_ms = _SYNTHETIC_END_MS - (CANDLES_AT_START - 1) * _MINUTE_MS
    times_ms = range(first_ms, _SYNTHETIC_END_MS + 1, _MINUTE_MS)
    return Prices(symbol, [price(symbol, ms, _MINUTE_MS) for ms in times_ms], times_ms[-1])


def _json(prices: Prices, state: State, words: list[str]) -> str:
    document: dict[str, Any] = {
        "symbol": prices.symbol,
        "prices": len(prices.closes),
        "close_time_ms": prices.close_time_ms,
        "close": prices.closes[-1],
        "regime": regime_of(state["regime_probs"]),
        **state,
        "reading": words,
    }
    return msgspec.json.encode(document).decode()


def _lines(prices: Prices, state: State) -> Iterator[str]:
    probs, features = state["regime_probs"], state["features"]
    until = ""
    if prices.close_time_ms is not None:
        until = f" until {utc(prices.close_time_ms)} UTC"
    yield f"{prices.symbol}: {len(prices.closes)} prices{until}, the last {prices.closes[-1]:.8g}"
    yield ""
    yield f"regime  {regime_of(probs)}"
    yield f"        trend {probs['trend']:.1%}  mr {probs['mr']:.1%}  chop {probs['chop']:.1%}"
    yield f"sigma   {state['sigma']:.8f}"
    yield f"mu      {state['mu']:.8f}"
    yield f"ts      {state['ts']:.6f}"
    yield (
        f"dp {features['dp']:.6f}  vr {features['vr']:.6f}  "
        f"spike_proxy {features['spike_proxy']:.6f}"
    )
