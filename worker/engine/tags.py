"""How the tags and the keys of many partitions are shown."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final

from marketstate.schemas.partitions import tag
from marketstate.worker.keys import Keys
from marketstate.worker.settings import Settings

ANY_TAG: Final = "{p*}"
"""Stands for the tag where all partitions are meant."""


def keys_of_all(settings: Settings) -> Keys:
    """The keys with `{p*}` in place of the tag; without partitions, those of the group."""
    first = settings.each_partition()[0]
    if not first.tag:
        return first.keys
    names: dict[str, Any] = {
        each.name: value.replace(first.tag, ANY_TAG)
        for each in fields(first.keys)
        if isinstance(value := getattr(first.keys, each.name), str)
    }
    return replace(first.keys, **names)


def tags_in_words(tags: Sequence[str], partitions: int | None) -> str:
    """`{p00}-{p03}, {p07}`."""
    order = {tag(i): i for i in range(partitions or 0)}
    runs: list[list[str]] = []
    for name in sorted(tags, key=order.__getitem__):
        if runs and order[name] == order[runs[-1][-1]] + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
