"""`marketstate describe`: says what the states of a history are like, and how often a rule fires.

The states come from files, or with `--stream` from the output stream.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from marketstate.worker.commands.describe.history import history
from marketstate.worker.commands.describe.rules import Rule, fired, rule
from marketstate.worker.commands.describe.sections import sections
from marketstate.worker.commands.describe.summary import LEVELS, Summary, summary_of
from marketstate.worker.commands.html_page import refuse_page, save
from marketstate.worker.commands.options import (
    add_candle_files,
    add_namespace,
    refuse_options_of_files,
)
from marketstate.worker.commands.plot.series import Series
from marketstate.worker.commands.plot.sources import a_state_needs, from_stream
from marketstate.worker.commands.regime_words import what_regimes_are
from marketstate.worker.commands.report import Section, as_page, as_text
from marketstate.worker.engine.tags import keys_of_all
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.piped import readable_path
from marketstate.worker.settings import Settings, settings_from
from marketstate.worker.store import connection


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        type=readable_path,
        metavar="FILE",
        help="candle files (CSV), recordings, or folders of candle files",
    )
    parser.add_argument(
        "--stream", action="store_true", help="describe what is in the output stream"
    )
    parser.add_argument(
        "--threshold",
        action="append",
        type=rule,
        default=[],
        metavar="RULE",
        help="tell how often a rule such as 'sigma>=0.005' would have fired, with numbers as in a "
        "record: 0.005 is 0.5 percent; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, at full precision")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.html", help="also write an HTML page with the same"
    )
    add_namespace(parser)
    add_candle_files(parser)


def command(options: argparse.Namespace) -> int:
    settings = settings_from(namespace=options.namespace)
    if bool(options.files) == options.stream:
        raise ConfigurationError("name files, or say --stream: one of them")
    if options.files and options.namespace:
        raise ConfigurationError("--namespace is for --stream")
    if options.out:
        refuse_page("--out", options.out)
    many = _states(options, settings)
    report = [] if options.json and not options.out else _report(many, options, settings)
    print(_json(many, options.threshold) if options.json else "\n".join(as_text(report)))
    if options.out:
        save(options.out, as_page("Market states", report))
    return 0


def _report(many: list[Series], options: argparse.Namespace, settings: Settings) -> list[Section]:
    meaning = f"{what_regimes_are(settings.theta).capitalize()}."
    return [*sections(many, options.threshold), Section("What these regimes are", [meaning])]


def _states(options: argparse.Namespace, settings: Settings) -> list[Series]:
    """By symbol. Raises ConfigurationError if there are none."""
    if options.files:
        return history(options, settings)
    refuse_options_of_files(options, "FILE")
    found = from_stream((), settings, None)
    if not found:
        where = f"{keys_of_all(settings).output_stream} at {connection.address(settings)}"
        raise ConfigurationError(f"{where} has no state; {a_state_needs(settings)}")
    return [found[symbol] for symbol in sorted(found)]


def _json(many: Sequence[Series], rules: Sequence[Rule]) -> str:
    document = {
        "all": _document(many, rules),
        "symbols": {series.symbol: _document([series], rules) for series in many},
    }
    return msgspec.json.encode(document).decode()


def _document(many: Sequence[Series], rules: Sequence[Rule]) -> dict[str, Any]:
    summary: Summary = summary_of(many)
    return {
        "states": summary.states,
        "first_close_time_ms": min(int(series.times_ms[0]) for series in many),
        "last_close_time_ms": max(int(series.times_ms[-1]) for series in many),
        "quantiles": {
            name: dict(zip(map(str, LEVELS), values.tolist(), strict=True))
            for name, values in summary.quantiles.items()
        },
        "regimes": {name: regime._asdict() for name, regime in summary.regimes.items()},
        "changes": summary.changes,
        "rules": {rule.text: fired(rule, many)._asdict() for rule in rules},
    }
