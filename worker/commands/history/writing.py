"""The formats of a history file, by the end of its name."""

from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from marketstate.schemas.history import About, ThetaUsed
from marketstate.worker.commands.extras import without_extra
from marketstate.worker.commands.history.job import Job
from marketstate.worker.commands.history.lines import write_csv, write_json_lines
from marketstate.worker.commands.history.whole import Block
from marketstate.worker.errors import ConfigurationError

_TABLES: Final = (".parquet", ".arrow")
FORMATS: Final = (*_TABLES, ".csv.gz", ".jsonl.gz")

Writer = Callable[[Path, Job, list[str], Iterable[Block]], None]
"""Of a file, with the rows of a job; the list has its symbols."""


def writer_for(path: Path) -> Writer:
    """Raises ConfigurationError for another format, and where pyarrow is needed and not there."""
    name = path.name
    if name.endswith(_TABLES):
        with without_extra("history", name):
            if find_spec("pyarrow") is None:
                raise ModuleNotFoundError(name="pyarrow")
        return partial(_write_table, path.suffix)
    if name.endswith(".csv.gz"):
        return lambda new, job, _, blocks: write_csv(new, job, blocks)
    if name.endswith(".jsonl.gz"):
        return lambda new, job, _, blocks: write_json_lines(new, job, blocks)
    raise ConfigurationError(f"--out {path}: its name must end in {', '.join(FORMATS)}")


def _write_table(
    kind: str, path: Path, job: Job, symbols: list[str], blocks: Iterable[Block]
) -> None:
    # Only now: while others calculate, its memory is better left to them.
    from marketstate.worker.commands.history import tables  # noqa: PLC0415

    write = tables.write_parquet if kind == ".parquet" else tables.write_arrow
    write(path, _about(job), tables.texts_of(job, symbols), blocks)


def _about(job: Job) -> About:
    thetas = [
        ThetaUsed(run.theta, run.settings.theta_hash, msgspec.to_builtins(run.settings.theta))
        for run in job.runs
    ]
    return About(version=version("marketstate-worker"), thetas=thetas)
