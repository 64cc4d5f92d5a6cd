"""What `calibrate` found, as sections of a report."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from marketstate.worker.commands.calibrate.followed import Bounds
from marketstate.worker.commands.calibrate.likelihood import NAMES
from marketstate.worker.commands.calibrate.reliability_diagram import diagram
from marketstate.worker.commands.calibrate.scores import FEWEST_BLOCKS, Bin
from marketstate.worker.commands.calibrate.worth import Worth
from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.commands.report import Picture, Section, Table

Floats = NDArray[np.float64]

_GAIN: Final = ("gain", "from", "to")


def verdict(worth: Worth) -> str:
    """The first line."""
    gain = f"gain in log loss over base rates {worth.base_rates.log_loss_gain}"
    if worth.is_skill:
        return f"skill: {gain}, {_days(worth, worth.blocks)}"
    if worth.blocks < FEWEST_BLOCKS:
        days = worth.blocks * worth.days_in_block
        return f"no skill: {gain}, {days} of {_days(worth, FEWEST_BLOCKS)} needed"
    return f"no skill: {gain}, {_days(worth, worth.blocks)}"


def _days(worth: Worth, blocks: int) -> str:
    days = blocks * worth.days_in_block
    return f"{days} day{'' if days == 1 else 's'}"


def of_ahead(worth: Worth, bounds: Bounds) -> Iterator[Section]:
    yield Section(
        verdict(worth),
        [
            f"What followed is judged by its closes, {bounds.in_words()}.",
            f"Fitted on the past, judged on later states: {worth.states:,} states in {worth.folds} "
            "folds. Lower scores are better. A gain is how much lower the fitted weights score, "
            f"with its 95% interval over blocks of {_days(worth, 1)}. There is skill if that in "
            f"log loss is above 0, with {FEWEST_BLOCKS} blocks or more.",
            _comparisons(worth),
        ],
    )
    shares = ", ".join(
        f"{name} {share:.1%}" for name, share in zip(REGIMES, worth.followed, strict=True)
    )
    yield Section(
        "Reliability: of states with about this probability, how many it followed",
        [
            f"What followed: {shares}. {_right(worth.reliability)}",
            Picture(diagram(worth.reliability)),
            _bins(worth.reliability),
        ],
    )


def of_weights(weights: Floats) -> Section:
    row = [f"{weight:.4g}" for weight in weights.ravel().tolist()]
    return Section("Weights (softmax_temp 1)", [Table(("", *NAMES), [("", *row)])])


def of_shares(title: str, symbols: Sequence[str], labels: Sequence[NDArray[np.int64]]) -> Section:
    """How the labels of each symbol, and of all, are shared out."""
    rows = [_share_row(shown(symbol), found) for symbol, found in zip(symbols, labels, strict=True)]
    if len(symbols) > 1:
        rows.insert(0, _share_row("all", np.concatenate(labels)))
    return Section(title, [Table(("symbol", "states", *REGIMES), rows)])


def _share_row(name: str, labels: NDArray[np.int64]) -> tuple[str, ...]:
    shares = np.bincount(labels, minlength=len(REGIMES)) / len(labels)
    return name, f"{len(labels):,}", *(f"{share:.1%}" for share in shares.tolist())


def _comparisons(worth: Worth) -> Table:
    names = ("", "log loss", *_GAIN, "Brier", *_GAIN)
    nothing = [""] * len(_GAIN)
    rows = [("fitted", f"{worth.log_loss:.4f}", *nothing, f"{worth.brier:.4f}", *nothing)]
    for one in (worth.base_rates, worth.in_use):
        log_loss, brier = (map(_signed, gain) for gain in (one.log_loss_gain, one.brier_gain))
        rows.append((one.name, f"{one.log_loss:.4f}", *log_loss, f"{one.brier:.4f}", *brier))
    return Table(names, rows)


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _right(bins: Sequence[Bin]) -> str:
    known = [one for one in bins if not math.isnan(one.followed.low)]
    right = sum(one.is_right for one in known)
    return f"The probability is within the 95% interval in {right} of {len(known)} rows."


def _bins(bins: Sequence[Bin]) -> Table:
    rows = []
    for one in bins:
        has_interval = not math.isnan(one.followed.low)
        rows.append(
            (
                one.regime,
                f"{one.predicted:.1%}",
                f"{one.followed.value:.1%}",
                f"{one.followed.low:.1%}" if has_interval else "-",
                f"{one.followed.high:.1%}" if has_interval else "-",
                f"{one.states:,}",
            )
        )
    return Table(("regime", "predicted", "followed", "from", "to", "states"), rows)
