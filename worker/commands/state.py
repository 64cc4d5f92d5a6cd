"""`marketstate state`: calculates and explains the state of prices, from files or synthetic ones.

It needs no Redis. The parameters come from the settings (MARKETSTATE_THETA_FILE).
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from marketstate.core.regime import regime_of
from marketstate.core.state import MarketState, State
from marketstate.schemas.interval import interval_ms
from marketstate.schemas.sequence import missing_within
from marketstate.worker.commands.options import add_candle_files, refuse_options_of_files, said
from marketstate.worker.commands.regime_words import what_regimes_are
from marketstate.worker.commands.starting_over import StartsOver, gap_in_words, starting_over
from marketstate.worker.commands.state_in_words import reading
from marketstate.worker.engine.synthetic import CANDLES_AT_START, price
from marketstate.worker.engine.utc import utc
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.piped import readable_path
from marketstate.worker.files.prices import Prices, read_prices
from marketstate.worker.settings import settings_from

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
        type=readable_path,
        metavar="FILE",
        help="one price per line, oldest first; or candles (CSV, .csv.gz, .zip), or a folder of "
        "candle files of one symbol",
    )
    source.add_argument("--synthetic", choices=SYNTHETIC, help="300 synthetic prices of this kind")
    parser.add_argument("--json", action="store_true", help="print JSON, at full precision")
    add_candle_files(parser)


def command(options: argparse.Namespace) -> int:
    settings = settings_from()
    if options.synthetic:
        refuse_options_of_files(options, "FILE")
    market_state = MarketState.of_merged(settings.theta)
    findings = Findings(skip_bad=options.skip_bad, allow_gaps=True)
    prices = (
        _synthetic(options.synthetic)
        if options.synthetic
        else read_prices(options.file, said(options), findings)
    )
    if prices.interval:
        prices = _since_the_last_long_gap(
            prices, starting_over(settings, prices.interval), findings
        )
    for line in findings.report():
        print(line, file=sys.stderr)
    state = market_state.get_state(prices.symbol, prices.closes)
    if state is None:
        raise ConfigurationError(
            f"{options.file or 'the synthetic source'} has {len(prices.closes)} prices"
            f"{' after its last long gap' * findings.restarted}; "
            f"a state needs {market_state.minimum_length} or more"
        )
    missing = _missing(prices, market_state.minimum_length)
    words = list(reading(state, market_state.theta["vol"]["sigma_floor"]))
    if options.json:
        print(_json(prices, state, missing, words))
    else:
        meaning = what_regimes_are(market_state.theta)
        print("\n".join([*_lines(prices, state, missing), "", *words, f"{meaning.capitalize()}."]))
    return 0


def _synthetic(kind: str) -> Prices:
    symbol = SYNTHETIC[kind]
    first_ms = _SYNTHETIC_END_MS - (CANDLES_AT_START - 1) * _MINUTE_MS
    times_ms = range(first_ms, _SYNTHETIC_END_MS + 1, _MINUTE_MS)
    closes = [price(symbol, ms, _MINUTE_MS) for ms in times_ms]
    return Prices(symbol, closes, list(times_ms), "1m")


def _since_the_last_long_gap(prices: Prices, starts_over: StartsOver, findings: Findings) -> Prices:
    """Prices of before are no history of those after it."""
    times_ms = prices.times_ms
    begins = [i for i in range(1, len(times_ms)) if starts_over(times_ms[i - 1], times_ms[i])]
    if not begins:
        return prices
    i = begins[-1]
    findings.restarted = True
    gap = gap_in_words(prices.symbol, times_ms[i - 1], times_ms[i])
    findings.notes.append(f"{gap}: the {i:,} prices before that long gap do not count")
    return prices._replace(closes=prices.closes[i:], times_ms=times_ms[i:])


def _missing(prices: Prices, used: int) -> int | None:
    """How many candles are missing among the last ones, which the calculation uses."""
    if not prices.interval:
        return None
    times_ms = prices.times_ms[-used:]
    step_ms = interval_ms(prices.interval) or 1
    return missing_within(times_ms[0], times_ms[-1], len(times_ms), step_ms)


def _json(prices: Prices, state: State, missing: int | None, words: list[str]) -> str:
    document: dict[str, Any] = {
        "symbol": prices.symbol,
        "prices": len(prices.closes),
        "close_time_ms": prices.close_time_ms,
        "close": prices.closes[-1],
        "missing": missing,
        "regime": regime_of(state["regime_probs"]),
        **state,
        "reading": words,
    }
    return msgspec.json.encode(document).decode()


def _lines(prices: Prices, state: State, missing: int | None) -> Iterator[str]:
    probs, features = state["regime_probs"], state["features"]
    until = ""
    if prices.close_time_ms is not None:
        until = f" until {utc(prices.close_time_ms)} UTC"
    yield f"{prices.symbol}: {len(prices.closes)} prices{until}, the last {prices.closes[-1]:.8g}"
    if missing:
        yield f"missing {missing:,} candles among those that the state is calculated from"
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
