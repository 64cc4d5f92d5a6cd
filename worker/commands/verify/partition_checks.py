"""What `marketstate verify` checks in each partition, and once in a group without partitions."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis.client import Pipeline

from marketstate.schemas.entry_id import entry_time_ms
from marketstate.worker.commands.durations import brief_duration
from marketstate.worker.commands.verify.symbol_checks import published_symbols
from marketstate.worker.engine import key_health
from marketstate.worker.engine.preflight import Finding
from marketstate.worker.engine.published import (
    others_entries,
    others_hashes,
    published_of,
    queue_reads_of,
)
from marketstate.worker.engine.status import Status
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client
from marketstate.worker.store.snapshot import read_together

TRIES: Final = 20


def checks_of_partition(
    client: Client, settings: Settings, status: Status, max_state_age_s: float
) -> Iterator[Finding]:
    yield from _room(status, settings)
    published = {one.symbol: one.last_emitted_ms is not None for one in status.symbols}
    yield _output_stream(client, settings, max_state_age_s, published)
    yield from _other_program(client, settings, status, max_state_age_s)
    yield from _expiries(client, settings, status)


def output_of_longer(client: Client, settings: Settings, max_state_age_s: float) -> Finding:
    """The output stream of a longer interval, whose settings these are."""
    return _output_stream(client, settings, max_state_age_s, published_symbols(client, settings))


def has_published(status: Status) -> bool:
    return any(one.last_emitted_ms for one in status.symbols)


def _expiries(client: Client, settings: Settings, status: Status) -> Iterator[Finding]:
    symbols = (one.symbol.encode() for one in status.symbols)
    for text in key_health.expiries(client, settings, symbols):
        yield Finding("warn", "expiry", text)


def _room(status: Status, settings: Settings) -> Iterator[Finding]:
    count = sum(shard.symbols for shard in status.shards)
    if count >= settings.most_symbols:
        text = (
            f"the group has {count}, and {PREFIX}MAX_SYMBOLS allows {settings.most_symbols}: "
            "entries of new ones are dead letters"
        )
        yield Finding("warn", "symbols", text)


def _output_stream(
    client: Client, settings: Settings, max_state_age_s: float, published: Mapping[str, bool]
) -> Finding:
    """Whether it grows, and whether its last entry has the record of its symbol; `published` has
    every symbol, and whether there is a state of it.
    """
    subject = f"output stream {settings.longer_interval}".rstrip()
    if not any(published.values()):
        text = "nothing has been published yet; see deploy/README.md, No state yet"
        if settings.partitions and not published:
            text = "no candle has arrived in this partition yet"
        return Finding("skip", subject, text)
    for _ in range(TRIES):
        last: Any = client.xrevrange(settings.keys.output_stream, count=1)
        if not last:
            return Finding("FAIL", subject, f"{settings.keys.output_stream} is empty")
        symbol = last[0][1].get(b"symbol", b"").decode(errors="replace")
        time, newest, published = _time_newest_and_record(client, settings, symbol)
        if newest != last:
            continue  # another state was just published
        entry_id, fields = newest[0]
        age_s = (clock_ms(time) - entry_time_ms(entry_id)) / 1_000
        text = f"its last entry, for {symbol}, was written {brief_duration(age_s)} ago"
        if age_s > max_state_age_s:
            return Finding("FAIL", subject, f"{text}; allowed: {max_state_age_s:g}s")
        if b"record" not in fields:
            text += ", and has no record: another program wrote it"
        elif published is not None and published != fields[b"record"]:
            text += f", and differs from the record of {symbol}"
        else:
            return Finding("ok", subject, text)
        return Finding("FAIL", subject, text)
    return Finding("ok", subject, "it grows faster than it can be compared")


def _other_program(
    client: Client, settings: Settings, status: Status, max_state_age_s: float
) -> Iterator[Finding]:
    """A failure while it may still be running."""
    subject, entries = "other program", others_entries(client, settings)
    if entries:
        time: Any = client.time()
        age_s = (clock_ms(time) - entries.newest_ms) / 1_000
        text = f"{entries.text(settings.keys.output_stream)} (the last {brief_duration(age_s)} ago)"
        yield Finding("FAIL" if age_s <= max_state_age_s else "warn", subject, text)
    symbols = [*(entries.symbols if entries else ()), *(one.symbol for one in status.symbols)]
    if text := others_hashes(client, settings, symbols):
        yield Finding("warn", subject, text)


def _time_newest_and_record(client: Client, settings: Settings, symbol: str) -> list[Any]:
    """Redis's time, the last entry of the output stream, and the record of the symbol."""

    def ask(reads: Pipeline) -> None:
        reads.time()
        reads.xrevrange(settings.keys.output_stream, count=1)
        queue_reads_of(reads, settings.keys, symbol)

    time, newest, fields, encoded = read_together(client, ask)
    return [time, newest, published_of(fields, encoded).encoded]
