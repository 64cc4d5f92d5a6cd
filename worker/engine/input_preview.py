"""What a worker would make of the newest entries of the input, for `marketstate check`.

The code of the worker reads and applies them, to windows that are empty; nothing is written.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec
import redis

from marketstate.schemas.candle import Candle, CandleRejected, decode_candle
from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES
from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.engine.changes import ENDS, Changes, Entry, Ignored, Reading, no_caches
from marketstate.worker.engine.key_health import printable
from marketstate.worker.engine.pipeline import TOO_CLOSE, Pipeline
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client
from marketstate.worker.store.newest import some_newest
from marketstate.worker.store.refusal import reason

_KINDS_SHOWN: Final = 3
_NEVER: Final = (2**63, 0)
"""All entries only fill windows, so that no state is calculated."""

_OTHERS: Final = frozenset(ENDS) - {"applied"}
_TICKS: Final = "look like ticks, but a worker needs candles that have closed"
_RAW: Final = (
    "look like updates of candles; `marketstate gather --updates` makes closed ones of them"
)
_PRICES: Final = {"open", "high", "low", "close"}


class Preview(NamedTuple):
    verdict: str
    """As in `Finding`."""
    text: str


def input_preview(client: Client, settings: Settings) -> Iterator[Preview]:
    """A summary, then what would keep entries from being applied."""
    stream = settings.keys.input
    try:
        time: Any = client.time()
        found = some_newest(client, stream)
    except redis.ResponseError as error:
        yield Preview("skip", f"cannot look at the entries of {stream}: {reason(error)}")
        return
    if not found:
        yield _of_nothing(stream, settings)
        return
    entries = [_routed(entry_id, fields, settings) for entry_id, fields in found]
    pipeline = Pipeline(settings, _NEVER)
    readings = pipeline.read(entries)
    # As for a symbol of which nothing is known.
    changes = pipeline.advance(readings, lambda _shard, _symbol: None, no_caches)
    counts = changes.counters
    age_s = max(0.0, clock_ms(time) - entry_time_ms(found[-1][0])) / 1_000
    yield _summary(stream, readings, counts, age_s)
    yield from _obstacles(readings, is_applied=counts["applied"] > 0)
    if any(isinstance(found, Candle) and found.interval is None for _, _, found in readings):
        yield from _other_distances(changes)
    if settings.source != "synthetic":
        yield from _invented(found)


def _of_nothing(stream: str, settings: Settings) -> Preview:
    if settings.source == "synthetic" or settings.replay_namespace:
        return Preview("ok", f"{stream} has no entries yet")
    return Preview(
        "warn",
        f"{stream} has no entries: a worker would wait for closed candles, which another program "
        f"must write there; if it writes them elsewhere, set {PREFIX}INPUT_STREAM",
    )


def _routed(entry_id: bytes, fields: dict[bytes, bytes], settings: Settings) -> Entry:
    """With the shard that `route.lua` gives it."""
    try:
        symbol = decode_candle(
            fields,
            entry_time_ms(entry_id),
            settings.max_ahead_ms,
            settings.candle_interval_ms,
        ).symbol
        return Entry(settings.shard_of(symbol), entry_id, fields)
    except Exception:  # the pipeline says what it is
        return Entry(0, entry_id, fields)


def _summary(stream: str, readings: list[Reading], counts: Counter[str], age_s: float) -> Preview:
    of = f"of the last {len(readings)} entries of {stream}"
    written = f"the newest was written {age_s:,.0f} s ago"
    others = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()) if name in _OTHERS)
    if not counts["applied"]:
        return Preview("warn", f"none {of} would be applied: {others}; {written}")
    symbols = {found.symbol for _, _, found in readings if isinstance(found, Candle)}
    text = f"{of}, {counts['applied']} would be applied (symbols: {len(symbols)})"
    return Preview("ok", "; ".join([text, *([others] if others else []), written]))


def _obstacles(readings: Iterable[Reading], *, is_applied: bool) -> Iterator[Preview]:
    """Each kind of dead letter; and of what is ignored, unless others are applied."""
    dead: Counter[str] = Counter()
    passed_over: Counter[str] = Counter()
    example: dict[str, str] = {}
    for entry, _, found in readings:
        if isinstance(found, CandleRejected):
            kind = _likeness(entry.fields) or _without_values(str(found))
            dead[kind] += 1
            example.setdefault(kind, f"{entry}: {found}")
        elif isinstance(found, Ignored):
            passed_over[_why(found)] += 1
    for kind, n in dead.most_common(_KINDS_SHOWN):
        like = f"{n} {kind}. They" if kind in (_TICKS, _RAW) else f"{n}"
        shown = printable(example[kind].encode())
        yield Preview("warn", f"{like} would be dead letters, such as {shown}")
    if len(dead) > _KINDS_SHOWN:
        rest = dead.total() - sum(n for _, n in dead.most_common(_KINDS_SHOWN))
        yield Preview("warn", f"{rest} more would be dead letters, for {len(dead)} reasons in all")
    for why, n in passed_over.most_common(_KINDS_SHOWN):
        yield Preview("ok" if is_applied else "warn", f"{n} would be passed over: {why}")


def _other_distances(changes: Changes) -> Iterator[Preview]:
    """Candles that name no interval may be shorter or longer than those of the group."""
    if too_close := [text for counter, text in changes.told_once.values() if counter == TOO_CLOSE]:
        yield Preview("warn", too_close[0])
    gaps = [text for counter, text in changes.warnings if counter == "gap"]
    if 2 * len(gaps) > changes.counters["applied"]:
        yield Preview(
            "warn",
            f"{len(gaps)} of them come after missing candles, such as {gaps[0]}; if that is so "
            f"with each, set {PREFIX}CANDLE_INTERVAL to their interval",
        )


def _why(found: Ignored) -> str:
    if found.why:
        return printable(found.why.encode())
    if found.counter == "unclosed":
        return "they are of candles that have not closed yet"
    return f"{PREFIX}SYMBOLS does not have their symbols"


def _invented(found: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> Iterator[Preview]:
    if n := sum(fields.get(b"source") == b"synthetic" for _, fields in found):
        yield Preview("warn", f"{n} say of themselves that their prices are synthetic")


def _likeness(fields: Any) -> str:
    """What the names of the fields say that it is; empty for all else."""
    names = _names(fields)
    event_type = fields.get(b"event_type", b"")
    if b"tick" in event_type or b"trade" in event_type:
        return _TICKS
    if "close" not in names and names & {"price", "bid", "ask"}:
        return _TICKS
    return _RAW if names >= _PRICES and "close_time" not in names else ""


def _names(fields: Any) -> set[str]:
    document = fields.get(b"payload", fields.get(b"data", b""))
    names = {name.decode(errors="replace") for name in fields}
    if document and len(document) <= MAX_DOCUMENT_BYTES:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            names |= msgspec.json.decode(document, type=dict[str, msgspec.Raw]).keys()
    return names


def _without_values(text: str) -> str:
    """The same for texts that differ only in what was found."""
    outside_quotes = "".join(text.split("'")[::2])
    return "".join(letter for letter in outside_quotes if letter.isalpha() or letter == " ")
