"""When the entries of a replay are due: at once, or with their original gaps, shortened or not."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from worker.commands.replay.sources import Item

BYTES_AT_ONCE: Final = 4 * 1024 * 1024


def batches(
    items: Iterator[Item],
    speed: float,
    most: int,
    wait: Callable[[float], bool],
    now_s: Callable[[], float] = time.monotonic,
) -> Iterator[list[Item]]:
    """What is due, as much as goes at once: `most` items, or BYTES_AT_ONCE.

    `speed` is times real time, inf for as fast as it goes. `wait` is called with the seconds until
    the next item is due, again and again until it is; the items end when it returns False.
    """
    batch: list[Item] = []
    size, first_ms, began_s = 0, None, now_s()
    for item in items:
        first_ms = item.time_ms if first_ms is None else first_ms
        due_s = began_s + (item.time_ms - first_ms) / 1_000 / speed
        if batch and (len(batch) >= most or size >= BYTES_AT_ONCE or due_s > now_s()):
            yield batch
            batch, size = [], 0
        while (left_s := due_s - now_s()) > 0:
            if not wait(left_s):
                return
        batch.append(item)
        size += len(item.packed)
    if batch:
        yield batch
