"""Writes a history as gzipped lines: CSV, or the records themselves as JSON.

Each line of JSON is a record as a worker publishes it. The gzip header holds no time and no name,
so the same rows give the same bytes.
"""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from marketstate.schemas.history import COLUMNS, record_of
from marketstate.schemas.market_state import encode_record
from marketstate.worker.commands.history.job import Job
from marketstate.worker.commands.history.rows import as_dicts
from marketstate.worker.commands.history.whole import Block
from marketstate.worker.files.recording_writer import GZIP_LEVEL


def write_csv(path: Path, job: Job, blocks: Iterable[Block]) -> None:
    """Numbers as the shortest text that has all their bits, times in ms since 1970."""
    with _gzipped(path) as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        names = [column.name for column in COLUMNS]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        for block in blocks:
            writer.writerows(_rows(job, block))


def write_json_lines(path: Path, job: Job, blocks: Iterable[Block]) -> None:
    with _gzipped(path) as file:
        for block in blocks:
            theta: Any = job.runs[block.run].settings.theta
            lines = (encode_record(record_of(row, theta)) + "\n" for row in _rows(job, block))
            file.write("".join(lines).encode())


def _rows(job: Job, block: Block) -> Iterator[dict[str, Any]]:
    run = job.runs[block.run]
    same = {
        "theta": run.theta,
        "theta_hash": run.settings.theta_hash,
        "source": run.settings.source,
        "interval": job.intervals[block.interval],
        "symbol": block.symbol,
    }
    return as_dicts(block.rows, same)


@contextmanager
def _gzipped(path: Path) -> Iterator[BinaryIO]:
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as packed,
    ):
        yield packed  # type: ignore[misc]
