"""The verdict on a history: everything in it that violates the guarantees.

It shares no code with the worker: `expected.py` reads the input by the documented rules, and
`emissions.py` recomputes what was published with the slow oracle.
"""

import multiprocessing
import struct
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import zip_longest
from typing import Final

from tests.fault.chaos.emissions import Symbol, check_symbol, due, needed_closes
from tests.fault.chaos.expected import Expected, expected_of
from tests.fault.chaos.history import Entry, History, digest, records_by_symbol
from tests.fault.chaos.names import INPUT

COUNTERS: Final = ("applied", "emitted", "duplicate", "late", "gap", "ignored", "dead", "lost")
ENDS: Final = ("applied", "duplicate", "late", "ignored", "dead", "lost")
FEW_OUTPUTS: Final = 5_000
"""Below this number, starting processes takes longer than it saves."""


def violations(history: History) -> list[str]:
    settings = history.settings
    expected = expected_of(history.inputs, settings["interval"], settings["interval_ms"])
    return [
        *history.complaints,
        *_sequence_fed(history),
        *_emissions(history, expected),
        *_reference(history),
        *_dead_letters(history, expected),
        *_counters(history, expected),
        *_windows(history, expected),
        *_group(history),
    ]


def _sequence_fed(history: History) -> Iterator[str]:
    """This does not concern the workers, but without it the other checks mean nothing."""
    numbers = [fields.get("trace_id") for _, fields in history.inputs]
    if numbers != [str(number) for number in range(history.settings["entries"])]:
        yield "HARNESS: the input stream does not hold the fed sequence"


def _emissions(history: History, expected: Expected) -> Iterator[str]:
    by_symbol: dict[str, list[Entry]] = {}
    for entry in history.outputs:
        by_symbol.setdefault(entry[1].get("symbol", ""), []).append(entry)
    unexpected = (by_symbol.keys() | history.states.keys()) - expected.closes.keys()
    for name in sorted(unexpected):
        yield f"{name!r} was published, but no candle of it was applied"
    symbols = [
        Symbol(name, closes, by_symbol.get(name, []), history.states.get(name), history.settings)
        for name, closes in expected.closes.items()
    ]
    if len(history.outputs) < FEW_OUTPUTS:
        for symbol in symbols:
            yield from check_symbol(symbol)
        return
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        for found in processes.map(check_symbol, symbols):
            yield from found


def _reference(history: History) -> Iterator[str]:
    """G2: the same bytes as a single undisturbed worker publishes."""
    if history.reference is None:
        return
    published = records_by_symbol(history.outputs)
    for name in sorted(published.keys() | history.reference.keys()):
        actual = [digest(record) for record in published.get(name, [])]
        pairs = zip_longest(history.reference.get(name, []), actual)
        for i, (wanted, found) in enumerate(pairs):
            if wanted != found:
                yield f"{name}: from record {i} on the bytes differ from an undisturbed worker's"
                break


def _dead_letters(history: History, expected: Expected) -> Iterator[str]:
    seen: set[str] = set()
    for letter_id, fields in history.dead:
        source_id = fields.get("source_id", "")
        where = f"dead letter {letter_id} of entry {source_id}"
        if source_id in seen:
            yield f"{where}: the entry already has one"
        seen.add(source_id)
        original = expected.dead.get(source_id)
        if original is None:
            yield f"{where}: no bad entry has this id"
            continue
        carried = {name: value for name, value in fields.items() if name not in DEAD_FIELDS}
        if carried != original or fields.get("source_stream") != INPUT or not fields.get("error"):
            yield f"{where}: not the original fields with error and source: {fields!r:.300}"
    for source_id in expected.dead.keys() - seen:
        yield f"the dead letter of entry {source_id} is missing"


DEAD_FIELDS: Final = ("error", "source_stream", "source_id")


def _counters(history: History, expected: Expected) -> Iterator[str]:
    settings = history.settings
    needed, interval_ms = needed_closes(settings["theta"]), settings["publish_interval_ms"]
    emitted = sum(len(due(closes, needed, interval_ms)) for closes in expected.closes.values())
    wanted = expected.counters | {"emitted": emitted}
    for name in COUNTERS:
        if wanted.get(name, 0) != history.counters.get(name, 0):
            yield (
                f"the counter {name} is {history.counters.get(name, 0)}, "
                f"expected {wanted.get(name, 0)}"
            )
    ends = sum(history.counters.get(name, 0) for name in ENDS)
    if ends != len(history.inputs):
        yield f"{' + '.join(ENDS)} = {ends}, but {len(history.inputs)} entries were fed"


def _windows(history: History, expected: Expected) -> Iterator[str]:
    """16 bytes per close: its time in ms as int64, the close as float64, little-endian."""
    for name in sorted(history.windows.keys() | expected.closes.keys()):
        closes = expected.closes.get(name, [])[-history.settings["window_size"] :]
        wanted = [struct.pack("<qd", close.close_time_ms, close.close).hex() for close in closes]
        if wanted != history.windows.get(name, []):
            yield f"{name}: the window in Redis is not the last {len(wanted)} closes"


def _group(history: History) -> Iterator[str]:
    group = history.group
    if group.get("pending") != 0:
        yield f"{group.get('pending')} entries are not acknowledged"
    if group.get("last-delivered-id") != group["last-generated-id"]:
        yield (
            f"read up to {group.get('last-delivered-id')}, but the stream ends with "
            f"{group['last-generated-id']}"
        )
    if group.get("lag", 0) != 0:
        yield f"XINFO GROUPS shows a lag of {group['lag']}"
