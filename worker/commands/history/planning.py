"""From the command line and the settings to the job."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from marketstate.schemas.longer import longer_interval
from marketstate.worker.commands.history.job import Job, Run
from marketstate.worker.commands.options import said
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.names import each_file, is_candle_file
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.settings import Settings, as_variables, environment_with, settings_from

_EVERY_CLOSE_S: Final = "1"
_NAMESPACE: Final = "history"


def planned(options: argparse.Namespace, folder: Path, shares: int) -> Job:
    """Raises ConfigurationError for files or settings that cannot be used."""
    paths = each_file(options.files)
    candle_files = _candle_files(paths, said(options))
    if options.from_ms >= options.to_ms:
        raise ConfigurationError("--from must be before --to")
    changes = _changes(options, candle_files)
    runs = _runs(options.theta, changes, options.intervals)
    settings = runs[0].settings
    symbols: tuple[str, ...] = ()
    if candle_files:
        wanted = settings.wanted_symbols
        there = sorted(candle_files.symbols)
        symbols = tuple(each for each in there if wanted is None or each in wanted)
        if not symbols:
            raise ConfigurationError(
                f"the files have candles of {', '.join(there)}, and none of {settings.symbols}"
            )
    job = Job(
        paths=tuple(paths),
        said=said(options),
        skip_bad=options.skip_bad,
        allow_gaps=options.allow_gaps,
        runs=runs,
        intervals=_intervals(options.intervals, settings),
        from_ms=options.from_ms,
        to_ms=options.to_ms,
        symbols=symbols,
        shares=shares,
        folder=folder,
    )
    job.sources()  # refuses what cannot be combined
    return job


def _candle_files(paths: list[Path], said: Said) -> CandleFiles | None:
    """None for recordings, and for what cannot be combined with them."""
    candles = [path for path in paths if is_candle_file(path)]
    return CandleFiles(candles, said) if candles and len(candles) == len(paths) else None


def _changes(options: argparse.Namespace, candle_files: CandleFiles | None) -> dict[str, str]:
    """Of the settings."""
    changes = {}
    interval = candle_files.interval if candle_files else options.interval
    if interval:
        changes["candle_interval"] = interval
    if options.every_close:
        changes["publish_interval"] = _EVERY_CLOSE_S
    if options.symbols is not None:
        changes["symbols"] = options.symbols
    return changes


def _runs(thetas: Iterable[Path], changes: dict[str, str], intervals: list[str]) -> tuple[Run, ...]:
    """As a replay, which has no wall clock either, and publishes all that it is fed."""
    files: list[Path | None] = [*thetas] or [None]
    runs: list[Run] = []
    for file in files:
        # Nobody else works on it: one shard has all symbols.
        its = {"shards": "1"} | ({} if file is None else {"theta_file": str(file)})
        settings = _settings(environment_with(**changes, **its), intervals)
        name = Path(settings.theta_file).stem if settings.theta_file else "default"
        if name in (run.theta for run in runs):
            raise ConfigurationError(
                f"two files of --theta have the name {name}, which is what tells their states apart"
            )
        runs.append(Run(name, settings))
    return tuple(runs)


def _settings(environ: dict[str, str], asked: list[str]) -> Settings:
    """With the intervals that are asked for; those of the settings if there are none."""
    if not asked:
        return settings_from(environ, namespace=_NAMESPACE)
    # Of recordings, only the settings say what the candles are.
    alone = settings_from(environ | as_variables(intervals=""), namespace=_NAMESPACE)
    ours = alone.candle_interval
    for each in asked:
        try:
            if each != ours:
                longer_interval(each, ours)
        except ValueError as error:
            raise ConfigurationError(
                f"--interval {each}: the candles are of {ours}, and {error}"
            ) from None
    several = ",".join(dict.fromkeys([ours, *asked]))
    return settings_from(environ | as_variables(intervals=several), namespace=_NAMESPACE)


def _intervals(asked: list[str], settings: Settings) -> tuple[str, ...]:
    """The shortest first."""
    names = (each.candle_interval for each in settings.each_interval)
    return tuple(name for name in names if not asked or name in asked)
