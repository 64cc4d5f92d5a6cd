"""Log lines into a file, as those of a worker go to the journal."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def log_file(logger: logging.Logger) -> Iterator[None]:
    """Write the lines of `logger` to a temporary file, and nowhere else."""
    before = logger.handlers, logger.propagate, logger.level
    with tempfile.TemporaryDirectory() as folder:
        handler = logging.FileHandler(Path(folder) / "log")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            handler.close()
            logger.handlers, logger.propagate = before[0], before[1]
            logger.setLevel(before[2])
