"""The reliability diagram: predicted probabilities against how often it was so, as SVGs."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from marketstate.worker.commands.calibrate.scores import Bin
from marketstate.worker.commands.regime_words import REGIMES

_SIDE: Final = 220
_EDGE: Final = 42
_WIDTH: Final = _SIDE + 2 * _EDGE


def diagram(bins: Sequence[Bin]) -> str:
    """A square for each regime; on its diagonal, probabilities are right."""
    return "".join(
        f'<svg role="img" aria-label="reliability of {regime}" width="{_WIDTH}" height="{_WIDTH}" '
        f'viewBox="0 0 {_WIDTH} {_WIDTH}" font-size="12" style="fill: var(--ink)">'
        f"{''.join(_square(regime, [one for one in bins if one.regime == regime]))}</svg>"
        for regime in REGIMES
    )


def _square(regime: str, bins: Sequence[Bin]) -> Iterator[str]:
    left, bottom = _EDGE, _SIDE + _EDGE

    def at(predicted: float, followed: float) -> tuple[float, float]:
        return left + _SIDE * predicted, bottom - _SIDE * followed

    yield (
        f'<rect x="{left}" y="{_EDGE}" width="{_SIDE}" height="{_SIDE}" fill="none" '
        'style="stroke: var(--faint)"/>'
    )
    yield _line(at(0, 0), at(1, 1), "--faint")
    yield f'<text x="{left}" y="{_EDGE - 8}">{regime}: how often it followed</text>'
    for share in (0.0, 0.5, 1.0):
        x, y = at(share, share)
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{share:.0%}</text>'
        yield f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>'
    for one in bins:
        if not math.isnan(one.followed.low):
            low, high = (at(one.predicted, share) for share in one.followed[1:])
            yield _line(low, high, f"--{regime}")
        x, y = at(one.predicted, one.followed.value)
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill: var(--{regime})">'
            f"<title>{one.predicted:.1%} predicted, {one.followed.value:.1%} followed, "
            f"{one.states:,} states</title></circle>"
        )


def _line(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'style="stroke: var({colour}); stroke-width: 2"/>'
    )
