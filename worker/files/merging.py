"""Many sorted files as one sequence, of which only those are open that are needed."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

T = TypeVar("T")

FEW: Final = 16
"""So many files are simply all opened."""


def merged(
    open_file: Sequence[Callable[[], Iterator[T]]],
    look_into: Sequence[Callable[[], Iterator[T]]],
    key: Callable[[T], Any],
) -> Iterator[T]:
    """The items as `heapq.merge` yields them. Of many files, each is looked into for its first item
    and closed again, and opened when that may be the next one.
    """
    if len(open_file) <= FEW:
        yield from heapq.merge(*(open_one() for open_one in open_file), key=key)
        return
    # The last one is next.
    waiting = sorted(_firsts(look_into, key), reverse=True)
    heads: list[tuple[Any, int, T, Iterator[T]]] = []
    while heads or waiting:
        while waiting and (not heads or waiting[-1] < heads[0][:2]):
            _, place = waiting.pop()
            _take_next(heads, place, open_file[place](), key)
        if heads:
            _, place, item, items = heapq.heappop(heads)
            yield item
            _take_next(heads, place, items, key)


def _firsts(
    look_into: Sequence[Callable[[], Iterator[T]]], key: Callable[[T], Any]
) -> Iterator[tuple[Any, int]]:
    for place, open_one in enumerate(look_into):
        items = open_one()
        for item in items:
            yield key(item), place
            break
        if hasattr(items, "close"):
            items.close()


def _take_next(
    heads: list[tuple[Any, int, T, Iterator[T]]],
    place: int,
    items: Iterator[T],
    key: Callable[[T], Any],
) -> None:
    for item in items:
        heapq.heappush(heads, (key(item), place, item, items))
        break
