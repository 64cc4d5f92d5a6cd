"""Feeds each entry into the stream of its partition; without partitions, there is one stream."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeVar

from marketstate.worker.commands.replay.feeding import StreamFeeder
from marketstate.worker.commands.replay.sources import Item
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store.connection import Client

T = TypeVar("T")


class Feeders:
    def __init__(
        self,
        settings: Settings,
        stop: Stop,
        on_wait: Callable[[str], None],
        tell: Callable[[str], None],
    ) -> None:
        """The arguments are those of `StreamFeeder`."""
        self._parts = settings.each_partition()
        self._feeders = [StreamFeeder(part, stop, on_wait, tell) for part in self._parts]

    @property
    def count(self) -> int:
        return sum(feeder.count for feeder in self._feeders)

    @property
    def waited_s(self) -> float:
        """Time spent waiting for the groups, one after another."""
        return sum(feeder.waited_s for feeder in self._feeders)

    def with_redis(self, action: Callable[[Client, Settings], T]) -> list[T]:
        """For each partition; running `action` twice must be harmless."""
        return [
            feeder.with_redis(lambda client, part=part: action(client, part))  # type: ignore[misc]
            for feeder, part in zip(self._feeders, self._parts, strict=True)
        ]

    def start_over(self) -> None:
        """Forget the positions of an earlier replay."""
        for feeder in self._feeders:
            feeder.start_over()

    def resume(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items without those that have been fed. Raises ConfigurationError if something else
        has been fed.
        """
        fed = [feeder.resume() for feeder in self._feeders]
        # A replay that broke off in the middle of a batch has fed it to some partitions only.
        left = []
        while any(feeder.count < n for feeder, n in zip(self._feeders, fed, strict=True)):
            item = next(items, None)
            if item is None:
                break
            feeder = self._feeders[item.partition]
            if feeder.count < fed[item.partition]:
                feeder.skip(item)
            else:
                left.append(item)
        for feeder in self._feeders:
            feeder.check_skipped()
        return chain(left, items)

    def feed(self, batch: list[Item], most_unfinished: float) -> None:
        """Returns without feeding all of it if a stop is requested while a group is behind."""
        for partition, feeder in enumerate(self._feeders):
            if own := [item for item in batch if item.partition == partition]:
                feeder.feed(own, most_unfinished)

    def wait_until_finished(self) -> None:
        for feeder in self._feeders:
            feeder.wait_until_finished()
