"""The verdict on a history: everything in it that violates the guarantees.

It shares no code with the worker: `expected.py` reads the input by the documented rules, and
`emissions.py` recomputes what was published with the slow oracle.
"""

import multiprocessing
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice, pairwise
from typing import Final

from tests.fault.chaos.emissions import Published, check_symbol
from tests.fault.chaos.expected import MOST_BYTES, QUARANTINED, Expected, Symbol, expected_of
from tests.fault.chaos.history import Entry, History, digests

ENDS: Final = (
    *("applied", "duplicate", "revised", "late"),
    *("ignored", "unclosed", "dead", "lost"),
)
COUNTERS: Final = (*ENDS, "emitted", "gap", "restarted", "quarantined", "window_lost")
OF_LONGER: Final = ("emitted", "gap", "restarted")
DEAD_FIELDS: Final = ("error", "source_stream", "source_id")
MOST_FIELDS: Final = 100
FEW_OUTPUTS: Final = 5_000
"""Below this number, starting processes takes longer than it saves."""


def violations_of_all(histories: Sequence[History]) -> list[str]:
    """Those of each group, and what only shows when all partitions are looked at together."""
    if len(histories) == 1:
        return violations(histories[0])
    found = {
        text if text in history.complaints else f"{history.settings['input']}: {text}": None
        for history in histories
        for text in violations(history)
    }
    brought = _brought(histories) if histories[0].settings["bridged"] else ()
    return [*found, *_in_two_partitions(histories), *brought]


def _in_two_partitions(histories: Sequence[History]) -> Iterator[str]:
    partitions: dict[str, str] = {}
    for history in histories:
        ours = history.settings["input"]
        published = {fields.get("symbol", "") for _, fields in history.outputs}
        for symbol in sorted(published | history.windows.keys() | history.states.keys()):
            if (other := partitions.setdefault(symbol, ours)) != ours:
                yield f"{symbol!r} is in two partitions, those of {other} and {ours}"


def violations(history: History) -> list[str]:
    expected = expected_of(history)
    return [
        *history.complaints,
        *_sequence_fed(history),
        *_emissions(history, expected),
        *_reference(history, expected),
        *_dead_letters(history, expected),
        *_quarantine(history, expected),
        *_counters(history, expected),
        *_windows(history, expected),
        *_group(history),
        *_longer(history, expected),
    ]


def _longer(history: History, expected: Expected) -> Iterator[str]:
    """Each longer interval, as if it was that of the candles."""
    for name in history.longer:
        its = Expected(
            {
                symbol: found.longer[name]
                for symbol, found in expected.symbols.items()
                if name in found.longer
            },
            sleepers=expected.sleepers,
        )
        of_interval = history.of_interval(name)
        for check in (_emissions, _reference, _windows):
            for text in check(of_interval, its):
                yield f"{name}: {text}"


def _sequence_fed(history: History) -> Iterator[str]:
    """This does not concern the workers, but without it the other checks mean nothing."""
    if history.settings["bridged"]:
        return  # see _brought
    numbers = _numbers(history)
    if numbers != [str(number) for number in range(history.settings["entries"])]:
        yield "HARNESS: the input stream does not hold the fed sequence"


def _numbers(history: History) -> list[str | None]:
    return [fields.get("trace_id") for _, fields in history.inputs if "extra" not in fields]


def _brought(histories: Sequence[History]) -> Iterator[str]:
    """The bridge brings each entry to one partition, in order. It may bring one again, later."""
    partitions: dict[int, str] = {}
    for history in histories:
        ours = history.settings["input"]
        first_copies = dict.fromkeys(int(number or -1) for number in _numbers(history))
        for before, after in pairwise(first_copies):
            if after < before:
                yield f"{ours}: the bridge has brought entry {after} after {before}"
        for number in first_copies:
            if (other := partitions.setdefault(number, ours)) != ours:
                yield f"the bridge has brought entry {number} to {other} and to {ours}"
    for number in sorted(set(range(histories[0].settings["entries"])) - partitions.keys()):
        yield f"the bridge has not brought entry {number}"


def _emissions(history: History, expected: Expected) -> Iterator[str]:
    by_symbol: dict[str, list[Entry]] = {}
    for entry in history.outputs:
        by_symbol.setdefault(entry[1].get("symbol", ""), []).append(entry)
    found = by_symbol.keys() | history.states.keys() | history.records.keys()
    unexpected = found - expected.symbols.keys()
    for name in sorted(unexpected):
        yield f"{name!r} was published, but no candle of it was applied"
    symbols = [
        Published(
            name,
            symbol,
            by_symbol.get(name, []),
            history.states.get(name),
            history.records.get(name),
            history.settings,
            may_expire=name in expected.sleepers,
        )
        for name, symbol in expected.symbols.items()
    ]
    if len(history.outputs) < FEW_OUTPUTS:
        for symbol in symbols:
            yield from check_symbol(symbol)
        return
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        for violations_of_one in processes.map(check_symbol, symbols):
            yield from violations_of_one


def _reference(history: History, expected: Expected) -> Iterator[str]:
    """G2: the same bytes as a single undisturbed worker publishes."""
    if history.reference is None:
        return
    published = digests(history.outputs)
    for name, symbol in expected.symbols.items():
        reference = history.reference.get(name, {})
        for at_ms in _with_whole_windows(symbol, history.settings["window_size"]):
            wanted, found = reference.get(at_ms), published.get(name, {}).get(at_ms)
            if wanted and found and wanted != found:
                yield f"{name}: from {at_ms} on the bytes differ from an undisturbed worker's"
                break


def _with_whole_windows(symbol: Symbol, window_size: int) -> Iterator[str]:
    """The states after which a window that somebody had removed has filled again: nobody has
    removed any window of the undisturbed worker.
    """
    for last, first in symbol.due:
        is_whole = first == 0 or last - first >= window_size
        if is_whole and not any(n <= last < n + window_size for n in symbol.breaks):
            yield str(symbol.closes[last].close_time_ms)


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
        is_told = fields.get("source_stream") == history.settings["input"] and fields.get("error")
        if carried != _cut(original) or not is_told:
            yield f"{where}: not the original fields with error and source: {fields!r:.300}"
    for source_id in expected.dead.keys() - seen:
        yield f"the dead letter of entry {source_id} is missing"


def _cut(fields: dict[str, str]) -> dict[str, str]:
    """Of a huge entry, a dead letter has the beginning."""
    pairs = islice(fields.items(), MOST_FIELDS)
    return {name[:MOST_BYTES]: value[:MOST_BYTES] for name, value in pairs}


def _quarantine(history: History, expected: Expected) -> Iterator[str]:
    """G9: only entries of a symbol that was damaged, between its damage and its repair."""
    ranges: dict[str, list[tuple[int, float]]] = {}
    for note in history.notes:
        found = ranges.setdefault(note.get("symbol", ""), [])
        if note["what"] == "damaged":
            found.append((note["dead"], float("inf")))
        elif note["what"] == "goes on" and found:
            found[-1] = found[-1][0], note["dead"]
    for number, (letter_id, fields) in enumerate(history.dead):
        symbol = expected.quarantined.get(fields.get("source_id", ""))
        if symbol and not any(begin <= number < end for begin, end in ranges.get(symbol, [])):
            yield f"dead letter {letter_id}: {symbol} was set aside, but nobody had damaged it"
        if not symbol and fields.get("error", "").startswith(QUARANTINED):
            yield f"dead letter {letter_id}: set aside, although the entry is no candle"


def _counters(history: History, expected: Expected) -> Iterator[str]:
    counted = Counter({name: _number(text) for name, text in history.counters.items()})
    for note in history.notes:
        if note["what"] == "counter":
            counted[note["name"]] += int(note["was"])
    of_longer = (f"{name}.{each}" for name in OF_LONGER for each in history.settings["longer"])
    for name in (*COUNTERS, *of_longer):
        if expected.counters[name] != counted[name]:
            yield f"the counter {name} is {counted[name]}, expected {expected.counters[name]}"
    gone = sum(name not in history.windows for name in expected.sleepers)
    if counted["retired"] < gone:
        yield f"the counter retired is {counted['retired']}, but {gone} symbols are gone"
    ends, read = sum(counted[name] for name in ENDS), sum(expected.counters[name] for name in ENDS)
    if ends != read:
        yield f"{' + '.join(ENDS)} = {ends}, but {read} entries are for this group"


def _number(text: str) -> int:
    """0 for one that was damaged and counts nothing since."""
    return int(text) if text.isdecimal() and str(int(text)) == text and int(text) < 2**53 else 0


def _windows(history: History, expected: Expected) -> Iterator[str]:
    """16 bytes per close: its time in ms as int64, the close as float64, little-endian."""
    for name in sorted(history.windows.keys() | expected.symbols.keys()):
        symbol = expected.symbols.get(name, Symbol())
        closes = symbol.closes[symbol.first :][-history.settings["window_size"] :]
        wanted = [struct.pack("<qd", close.close_time_ms, close.close).hex() for close in closes]
        found = history.windows.get(name, [])
        has_retired = not found and name in expected.sleepers
        if wanted != found and not has_retired:
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
