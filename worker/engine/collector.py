"""How seldom Python's garbage collector looks for cycles in a process that reads candles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# New objects until the garbage collector looks for cycles. Python's 700 are reached many times in a
# batch, while all of its objects are still in use.
COLLECT_AFTER: Final = 50_000


def spare_the_collector() -> None:
    """Look for cycles seldom, and never among what the imports have made, which stays as it is.
    Almost everything that candles need is freed without the collector, by its last reference.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


@contextmanager
def spared_collector() -> Iterator[None]:
    """The same for a while."""
    before = gc.get_threshold()
    spare_the_collector()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
