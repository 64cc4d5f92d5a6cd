"""A file of metrics for the textfile collector of node_exporter, replaced as a whole."""

from pathlib import Path

from prometheus_client import write_to_textfile

from marketstate.worker.commands.metrics.families import Families
from marketstate.worker.errors import FileUnusable


def replace(path: Path, families: Families) -> None:
    """Written beside it and renamed, so that nobody reads half of it. Raises FileUnusable."""
    try:
        write_to_textfile(str(path), families)
    except OSError as error:
        raise FileUnusable(f"{path} cannot be written: {error.strerror or error}") from error
