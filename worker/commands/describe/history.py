"""The states of a history in files: what `describe` and `calibrate` look at."""

import argparse

from marketstate.worker.commands.markets import shown
from marketstate.worker.commands.options import said
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.commands.plot.sources import a_state_needs, from_files
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.findings import Findings
from marketstate.worker.settings import Settings


def history(options: argparse.Namespace, settings: Settings) -> list[Series]:
    """By symbol. Raises ConfigurationError if there is no state, or if intervals differ: figures
    per candle would then be of candles that are not alike.
    """
    findings = Findings(skip_bad=options.skip_bad, allow_gaps=True)
    found = from_files(options.files, said(options), findings, settings, None)
    if not found:
        listed = ", ".join(map(str, options.files))
        raise ConfigurationError(f"{listed} has no state; {a_state_needs(settings)}")
    many = [found[symbol] for symbol in sorted(found)]
    for series in many:
        if series.candle_ms != many[0].candle_ms:
            unlike = ", ".join(
                f"{shown(one.symbol)} ({shown(one.interval)})" for one in (many[0], series)
            )
            raise ConfigurationError(
                f"all symbols must have the same candle interval; found {unlike}: read them apart"
            )
    return many
