"""`marketstate calibrate`: fits the weights of the regime scores to a history, and judges them.

`--shares` describes: its labels divide the history as wanted. `--ahead` forecasts: it is fitted to
what followed, judged on later states, and says first whether it has any skill.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from marketstate.core.theta import Theta, minimum_length
from marketstate.worker.commands.calibrate.followed import bounds
from marketstate.worker.commands.calibrate.judged import judged, terms_of
from marketstate.worker.commands.calibrate.likelihood import fitted
from marketstate.worker.commands.calibrate.sections import of_ahead, of_shares, of_weights, verdict
from marketstate.worker.commands.calibrate.shares import divided, labels, shares
from marketstate.worker.commands.calibrate.theta_file import about_history, check_path, write_theta
from marketstate.worker.commands.calibrate.weights import weights_in, with_weights
from marketstate.worker.commands.calibrate.worth import Worth, worth_of
from marketstate.worker.commands.describe.history import history
from marketstate.worker.commands.html_page import refuse_page, save
from marketstate.worker.commands.options import add_candle_files, count
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.commands.regime_words import REGIMES
from marketstate.worker.commands.report import Section, as_page, as_text
from marketstate.worker.errors import CheckFailed, ConfigurationError
from marketstate.worker.files.piped import readable_path
from marketstate.worker.settings import Settings, settings_from

_MOST_AHEAD: Final = 10_000
_FOLDS: Final = 5
_MOST_FOLDS: Final = 50


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        type=readable_path,
        metavar="FILE",
        help="candle files (CSV), recordings of candles, or folders of candle files",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--shares",
        type=shares,
        metavar="SHARES",
        help="divide the history so, such as trend=0.2,mr=0.2,chop=0.6: a description",
    )
    way.add_argument(
        "--ahead",
        type=count,
        metavar="N",
        help="fit to what followed each state in the next N candles, and judge it on later ones",
    )
    parser.add_argument(
        "--folds",
        type=count,
        metavar="N",
        help=f"with --ahead: in how many parts to judge what came later; default: {_FOLDS}",
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the theta here")
    parser.add_argument(
        "--anyway", action="store_true", help="with --ahead: write it even if it has no skill"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE.html", help="also write the report as an HTML page"
    )
    add_candle_files(parser)


def command(options: argparse.Namespace) -> int:
    settings = settings_from()
    theta = settings.theta
    _refuse_what_cannot_be(options, theta)
    many = _series(options, settings)
    worth: Worth | None = None
    report: list[Section] = []
    about = about_history(options.files, many)
    if options.shares:
        theta = _with_shares(options.shares, many, theta)
        about |= _about_shares(options.shares)
    else:
        worth, report, theta = _ahead(options, many, theta)
        about |= _about_ahead(options.ahead, worth)
    report += [of_weights(weights_in(theta)), _labels(many, theta)]
    print("\n".join(as_text(report)))
    if options.page:
        save(options.page, as_page("Calibration of the regimes", report))
    if worth and not worth.is_skill and not options.anyway:
        instead = f"; {options.out} was not written (--anyway writes it)" if options.out else ""
        raise CheckFailed(f"these weights have no skill{instead}")
    if options.out:
        write_theta(options.out, theta, about)
        print(f"\nwrote {options.out}; use it with MARKETSTATE_THETA_FILE")
    return 0


def _refuse_what_cannot_be(options: argparse.Namespace, theta: Theta) -> None:
    """Raises ConfigurationError, before anything is read."""
    least = 2 * theta["regime"]["vr_k"]
    if options.ahead and not least <= options.ahead <= _MOST_AHEAD:
        raise ConfigurationError(f"--ahead must be from {least} to {_MOST_AHEAD}")
    if options.shares and (options.folds or options.anyway):
        raise ConfigurationError("--folds and --anyway are for --ahead")
    if options.folds and not 2 <= options.folds <= _MOST_FOLDS:
        raise ConfigurationError(f"--folds must be from 2 to {_MOST_FOLDS}")
    if options.page:
        refuse_page("--page", options.page)
    if options.anyway and not options.out:
        raise ConfigurationError("--anyway writes a theta: name its file with --out")
    if options.out:
        check_path(options.out)


def _series(options: argparse.Namespace, settings: Settings) -> list[Series]:
    """By symbol, calculated with the theta in use."""
    many = history(options, settings)
    if any(series.is_published for series in many):
        listed = ", ".join(map(str, options.files))
        raise ConfigurationError(
            f"{listed} has published states; they may be of another theta, and not of each candle: "
            "give candles, such as marketstate record writes of the input"
        )
    return many


def _with_shares(wanted: Mapping[str, float], many: list[Series], theta: Theta) -> Theta:
    x = np.concatenate([terms_of(series) for series in many], axis=2)
    return with_weights(theta, divided(x, weights_in(theta), wanted))


def _ahead(
    options: argparse.Namespace, many: list[Series], theta: Theta
) -> tuple[Worth, list[Section], Theta]:
    step_ms = many[0].candle_ms
    ahead_ms = options.ahead * step_ms
    states = judged(many, options.ahead, theta)
    span_ms = minimum_length(theta) * step_ms + ahead_ms
    worth = worth_of(states, theta, options.folds or _FOLDS, ahead_ms, span_ms)
    weights = fitted(states.x, states.followed)
    limits = bounds(options.ahead, theta["regime"]["vr_k"], theta["eps"])
    return worth, list(of_ahead(worth, limits)), with_weights(theta, weights)


def _labels(many: list[Series], theta: Theta) -> Section:
    weights = weights_in(theta)
    found = [labels(terms_of(series), weights) for series in many]
    return of_shares("Labels of this theta", [series.symbol for series in many], found)


def _about_shares(wanted: Mapping[str, float]) -> dict[str, Any]:
    return {
        "method": f"--shares {','.join(f'{name}={share:g}' for name, share in wanted.items())}",
        "says": "a description: it labels so many of these states so, and foresees nothing",
    }


def _about_ahead(ahead: int, worth: Worth) -> dict[str, Any]:
    return {
        "method": f"--ahead {ahead}",
        "says": verdict(worth),
        "judged": {
            "states": worth.states,
            "folds": worth.folds,
            "blocks": worth.blocks,
            "days_in_block": worth.days_in_block,
            "log_loss": worth.log_loss,
            "brier": worth.brier,
            **{
                one.name: {"log_loss": one.log_loss, "brier": one.brier}
                for one in (worth.base_rates, worth.in_use)
            },
            "log_loss_gain_over_base_rates": worth.base_rates.log_loss_gain,
            "what_followed": dict(zip(REGIMES, worth.followed.tolist(), strict=True)),
        },
    }
