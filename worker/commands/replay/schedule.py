"""When the entries of a replay are due: immediately, or with their original gaps, scaled."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from marketstate.worker.commands.replay.sources import Item

BYTES_AT_ONCE: Final = 4 * 1024 * 1024


def batches(
    items: Iterator[Item],
    speed: float,
    most: int,
    wait: Callable[[float], bool],
    now_s: Callable[[], float] = time.monotonic,
) -> Iterator[list[Item]]:
    """Batches of items that are due, each of up to `most` items or BYTES_AT_ONCE.

    `speed` is a multiple of real time; inf means as fast as possible. `wait` is called repeatedly
    with the seconds until the next item is due; if it returns False, the batches end.
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
