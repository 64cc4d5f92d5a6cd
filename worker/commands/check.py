"""`marketstate check`: prints the preflight and a look at the input, one line per finding."""

import argparse
from collections.abc import Iterator

from marketstate.worker.commands.folding import folded
from marketstate.worker.commands.options import add_namespace
from marketstate.worker.engine.all_partitions import at_once
from marketstate.worker.engine.input_preview import input_preview
from marketstate.worker.engine.preflight import Finding, preflight
from marketstate.worker.errors import WorkerError
from marketstate.worker.settings import Settings, settings_from
from marketstate.worker.store import connection


def add_options(parser: argparse.ArgumentParser) -> None:
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    try:
        settings = settings_from(namespace=options.namespace)
        if settings.partitions is not None:
            return _check_partitions(settings)
        for finding in _findings(settings):
            print(finding, flush=True)
    except WorkerError as error:
        print(f"FAIL {error}", flush=True)
        return error.exit_code
    return 0


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from preflight(settings)
    yield from _of_input(settings)


def _check_partitions(settings: Settings) -> int:
    """What is the same in several partitions is said once. The exit code is that of the first
    partition in which a worker could not run.
    """
    parts = settings.each_partition()
    results = at_once(parts, _findings_and_exit_code)
    found = [(part.tag, findings) for part, (findings, _) in zip(parts, results, strict=True)]
    for finding in folded(found, settings.partitions):
        print(finding, flush=True)
    return next((code for _, code in results if code), 0)


def _findings_and_exit_code(settings: Settings) -> tuple[list[Finding], int]:
    found: list[Finding] = []
    try:
        for finding in _findings(settings):
            found.append(finding)
    except WorkerError as error:
        return [*found, Finding("FAIL", "worker", str(error))], error.exit_code
    return found, 0


def _of_input(settings: Settings) -> Iterator[Finding]:
    with connection.reporting(settings), connection.open_client(settings, block_s=0) as client:
        for verdict, text in input_preview(client, settings):
            yield Finding(verdict, "input", text)
