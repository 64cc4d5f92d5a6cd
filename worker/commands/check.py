"""`marketstate check`: prints the preflight and a look at the input, one line per finding."""

import argparse
from collections.abc import Iterator

import redis

from worker.commands.options import add_namespace
from worker.engine.input_preview import input_preview
from worker.engine.preflight import Finding, preflight
from worker.errors import WorkerError
from worker.settings import Settings, settings_from
from worker.store import connection


def add_options(parser: argparse.ArgumentParser) -> None:
    add_namespace(parser)


def command(options: argparse.Namespace) -> int:
    try:
        settings = settings_from(namespace=options.namespace)
        for findings in (preflight(settings), _of_input(settings)):
            for finding in findings:
                print(finding, flush=True)
    except WorkerError as error:
        print(f"FAIL {error}", flush=True)
        return error.exit_code
    return 0


def _of_input(settings: Settings) -> Iterator[Finding]:
    try:
        with connection.open_client(settings, block_s=0) as client:
            for verdict, text in input_preview(client, settings):
                yield Finding(verdict, "input", text)
    except redis.RedisError as error:
        raise connection.unusable(error, settings) from error
