"""`marketstate plot`: plots price, regime, sigma, mu, ts and regime probabilities to a file.

The states come from the output stream, or with `--from` from files.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from marketstate.worker.commands.extras import without_extra
from marketstate.worker.commands.html_page import save
from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.options import (
    add_candle_files,
    add_namespace,
    count,
    of_interval,
    refuse_options_of_files,
    said,
)
from marketstate.worker.commands.plot.page import page_bytes
from marketstate.worker.commands.plot.series import PERIODS, Series
from marketstate.worker.commands.plot.sources import a_state_needs, from_files, from_stream
from marketstate.worker.commands.plurals import counted
from marketstate.worker.commands.regime_words import what_regimes_are
from marketstate.worker.engine.invented import TITLE
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.piped import readable_path
from marketstate.worker.settings import settings_from
from marketstate.worker.store import connection

_FORMATS: Final = (".png", ".svg", ".html")
_MOST_SYMBOLS: Final = 20
_MOST_SMALL: Final = 100
_NO_STATE_YET: Final = (
    "marketstate status lists them; a symbol's first state comes with a new candle; for older "
    "candles: marketstate record FILE, then plot --from FILE"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="default with --from: all")
    parser.add_argument(
        "--from",
        dest="files",
        nargs="+",
        type=readable_path,
        metavar="FILE",
        help="recordings, candle files (CSV) or folders of them; default: the output stream",
    )
    parser.add_argument(
        "--last", type=count, default=1_440, metavar="N", help="states per symbol; default: 1440"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"file to write; its suffix sets the format: {', '.join(_FORMATS)}",
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="small multiples: of each symbol price and sigma alone, and more symbols in a picture",
    )
    parser.add_argument(
        "--sigma-per",
        choices=PERIODS,
        default="candle",
        help="what sigma is shown for: it grows with the square root of time; default: candle",
    )
    add_namespace(parser)
    add_candle_files(
        parser, without_files="; without --from: the one whose states are drawn, such as 5m"
    )


def command(options: argparse.Namespace) -> int:
    settings, last = settings_from(namespace=options.namespace), options.last
    if not options.files:
        refuse_options_of_files(options, "--from", but_interval=True)
        settings = of_interval(settings, options.interval)
    meaning = what_regimes_are(settings.theta)
    write = _writer(options.out, meaning, small=options.small)
    if options.files:
        findings = Findings(skip_bad=options.skip_bad, allow_gaps=True)
        found = from_files(options.files, said(options), findings, settings, last)
        where = ", ".join(map(str, options.files))
        hint = a_state_needs(settings)
    elif not options.symbols:
        raise ConfigurationError("no symbols given; use marketstate plot SYMBOL... --out FILE")
    else:
        found = from_stream(options.symbols, settings, last)
        where = f"{keys_of_all(settings).output_stream} at {connection.address(settings)}"
        hint = f"{a_state_needs(settings)}; {_NO_STATE_YET}"
    most = _MOST_SMALL if options.small else _MOST_SYMBOLS
    chosen = [
        series.with_sigma_per(options.sigma_per)
        for series in _chosen(options.symbols, found, most, where, hint)
    ]
    for series in chosen:
        if series.synthetic:
            of = f"{series.synthetic} of {len(series.times_ms)} states"
            print(f"{TITLE}: {of} of {shown(series.symbol)} are invented")
    save(options.out, write(chosen))
    for series in chosen:
        described = f"{shown(series.symbol)}: {counted(len(series.times_ms), 'state')}"
        print("; ".join((described, *series.remarks())))
    print(f"wrote {options.out}; {meaning}")
    return 0


def _writer(out: Path, meaning: str, *, small: bool) -> Callable[[Sequence[Series]], bytes]:
    if out.suffix not in _FORMATS:
        raise ConfigurationError(f"--out {out} must end in one of {', '.join(_FORMATS)}")
    if out.suffix == ".html":
        if small:
            raise ConfigurationError(
                "--small draws a PNG or an SVG; a page has one symbol below the other"
            )
        return partial(page_bytes, meaning=meaning)
    instead = "; an HTML page (--out FILE.html) does without it"
    with without_extra("view", out.suffix[1:].upper(), instead):
        # Here, because a page does without it and it takes a second.
        from marketstate.worker.commands.plot.figure import figure_bytes  # noqa: PLC0415
    return partial(figure_bytes, kind=out.suffix[1:], small=small)


def _chosen(
    symbols: Sequence[str], found: Mapping[str, Series], most: int, where: str, hint: str
) -> list[Series]:
    """Raises ConfigurationError with `hint` if a state is missing."""
    wanted = list(dict.fromkeys(symbols)) or sorted(found)
    if missing := [symbol for symbol in wanted if symbol not in found]:
        raise ConfigurationError(
            f"{where} has no state of {', '.join(missing)}; use the names in it; {hint}"
        )
    if not wanted:
        raise ConfigurationError(f"{where} has no state; {hint}")
    if len(wanted) > most:
        more = f", or with --small up to {_MOST_SMALL}" if most < _MOST_SMALL else ""
        raise ConfigurationError(
            f"{len(wanted)} symbols are too many for one file; name up to {most}{more}"
        )
    return [found[symbol] for symbol in wanted]
