"""The description of a history as sections of a report."""

from collections.abc import Iterator, Sequence

from marketstate.worker.commands.describe.rules import Rule, fired
from marketstate.worker.commands.describe.summary import LEVELS, Summary, summary_of
from marketstate.worker.commands.durations import brief_duration
from marketstate.worker.commands.html_page import key_of
from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.commands.plurals import counted
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.commands.report import Picture, Section, Table

_PERCENT = 100.0
# Shown in percent: a move of 0.01% reads better than 0.0001.
_IN_PERCENT = ("sigma", "sigma per hour", "sigma per day", "mu", *(f"p_{r}" for r in REGIMES))


def sections(many: Sequence[Series], rules: Sequence[Rule]) -> Iterator[Section]:
    """Over all, then for each symbol."""
    summaries = [summary_of([series]) for series in many]
    if len(many) > 1:
        title = f"{len(many)} symbols: {counted(sum(one.states for one in summaries), 'state')}"
        yield Section(title, [_symbols(many, summaries), *_parts(summary_of(many), many, rules)])
    for series, summary in zip(many, summaries, strict=True):
        title = f"{shown(series.symbol)}: {series.described()}"
        yield Section(title, [*series.remarks(), *_parts(summary, [series], rules)])


def _symbols(many: Sequence[Series], summaries: Sequence[Summary]) -> Table:
    middle = LEVELS.index(0.5)
    names = ("symbol", "states", "sigma %", "ts", *REGIMES, "changes/day")
    rows = [
        (
            shown(series.symbol),
            f"{summary.states:,}",
            short(_PERCENT * summary.quantiles["sigma"][middle]),
            short(summary.quantiles["ts"][middle]),
            *(f"{summary.regimes[regime].share:.1%}" for regime in REGIMES),
            short(summary.changes / summary.days),
        )
        for series, summary in zip(many, summaries, strict=True)
    ]
    return Table(names, rows)


def _parts(
    summary: Summary, many: Sequence[Series], rules: Sequence[Rule]
) -> Iterator[str | Table | Picture]:
    yield Picture(_bar(summary))
    yield _quantiles(summary)
    yield _regimes(summary)
    if rules:
        yield _rules(many, rules)


def _quantiles(summary: Summary) -> Table:
    rows = []
    for name, values in summary.quantiles.items():
        factor, unit = (_PERCENT, " %") if name in _IN_PERCENT else (1.0, "")
        rows.append((name + unit, *(short(factor * value) for value in values.tolist())))
    return Table(("quantile", *(f"{level:.0%}" for level in LEVELS)), rows)


def _regimes(summary: Summary) -> Table:
    rows = [
        (
            regime,
            f"{found.share:.1%}",
            f"{found.runs:,}",
            brief_duration(found.median_s) if found.runs else "-",
            brief_duration(found.longest_s) if found.runs else "-",
            *(f"{found.changes_to.get(other, '-')}" for other in REGIMES),
        )
        for regime, found in summary.regimes.items()
    ]
    to = (f"to {regime}" for regime in REGIMES)
    return Table(("regime", "share", "times", "median", "longest", *to), rows)


def _rules(many: Sequence[Series], rules: Sequence[Rule]) -> Table:
    rows = []
    for rule in rules:
        found = fired(rule, many)
        rows.append(
            (
                rule.text,
                f"{found.states:,}",
                f"{found.share:.2%}",
                f"{found.times:,}",
                short(found.times_per_day),
            )
        )
    return Table(("rule", "states", "share", "began", "began/day"), rows)


def _bar(summary: Summary) -> str:
    parts, left = [], 0.0
    for regime in REGIMES:
        width = 600 * summary.regimes[regime].share
        parts.append(
            f'<rect x="{left:.1f}" width="{width:.1f}" height="16" style="fill: var(--{regime})">'
            f"<title>{regime} {width / 600:.1%}</title></rect>"
        )
        left += width
    return (
        f'<div class="key">{"".join(map(key_of, REGIMES))}</div>'
        '<svg role="img" aria-label="shares of the regimes" width="600" height="16" '
        f'viewBox="0 0 600 16">{"".join(parts)}</svg>'
    )


def short(value: float) -> str:
    """Three digits that count, or as many as fit into eight characters; of thousands, all."""
    if 999.5 <= abs(value) < 1e7:
        return f"{value:.0f}"
    for digits in (3, 2, 1):
        text = f"{value:.{digits}g}"
        if len(text) <= 8:
            break
    return text
