"""The last states of a symbol as text: a sparkline of one line, and a chart of several."""

from collections.abc import Iterator, Sequence
from typing import Final

from marketstate.worker.commands.markets import Market
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.commands.top.selection import price_in_words
from marketstate.worker.engine.utc import utc

# Numbers, and the regimes and sigma of the chart.
_LINES_BESIDE_CHART: Final = 8


def sparkline(values: Sequence[float], levels: str) -> str:
    """A character per value, from the lowest to the highest of `levels`; blank unless they move."""
    lowest, highest = min(values, default=0.0), max(values, default=0.0)
    if lowest == highest:
        return ""
    return "".join(
        levels[round((value - lowest) / (highest - lowest) * (len(levels) - 1))] for value in values
    )


def chart(market: Market, size: tuple[int, int], levels: str, marks: Sequence[str]) -> list[str]:
    """`size` is (columns, lines). `marks` are those of the regimes, shown below the prices."""
    width, lines = size
    states = market.recent[-width:]
    last = market.record
    probs = last.regime_probs
    closes, sigmas = [state.close for state in states], [state.sigma for state in states]
    return [
        f"price {price_in_words(last.close)}  sigma {last.sigma:.8f}  mu {last.mu:+.8f}  "
        f"ts {last.ts:.4f}",
        f"{last.regime}  trend {probs.trend:.1%}  mr {probs.mr:.1%}  chop {probs.chop:.1%}  "
        f"closes {last.buffer_size}  missing {last.missing}",
        "",
        f"{len(states)} state{'s' * (len(states) > 1)} since {utc(states[0].close_time_ms)}, "
        f"prices {price_in_words(min(closes))} to {price_in_words(max(closes))}",
        *_columns(closes, max(1, lines - _LINES_BESIDE_CHART), levels),
        "",
        "".join(
            marks[REGIMES.index(state.regime)] if state.regime in REGIMES else "?"
            for state in states
        ),
        sparkline(sigmas, levels),
        f"until {utc(last.close_time_ms)} UTC; below the prices are the regimes, and sigma, "
        f"{min(sigmas):.8f} to {max(sigmas):.8f}",
    ]


def _columns(values: Sequence[float], height: int, levels: str) -> Iterator[str]:
    """Filled columns, as lines, the top one first; the lowest value has one level."""
    lowest = min(values)
    room = (max(values) - lowest) or 1.0
    heights = [1 + round((value - lowest) / room * (height * len(levels) - 1)) for value in values]
    for line in reversed(range(height)):
        filled = (one - line * len(levels) for one in heights)
        yield "".join(" " if n <= 0 else levels[min(n, len(levels)) - 1] for n in filled)
