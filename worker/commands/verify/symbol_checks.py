"""Judges every symbol of a partition, and sums up over all of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import redis
from redis.client import Pipeline

from marketstate.worker.commands.verify.recompute import COMPLETE, FRESH, RECOMPUTED, Held, Judge
from marketstate.worker.engine.key_health import printable
from marketstate.worker.engine.mark import parse_mark
from marketstate.worker.engine.preflight import Finding
from marketstate.worker.engine.published import published_of, queue_reads_of
from marketstate.worker.settings import Settings
from marketstate.worker.store.clock import clock_ms
from marketstate.worker.store.connection import Client
from marketstate.worker.store.snapshot import read_together

KEYS: Final = "keys"
"""The check of symbols whose keys are damaged; it has no line that sums it up."""
_SUMMARIES: Final = {
    COMPLETE: "have all fields, and fields and record agree",
    FRESH: "are fresh",
    RECOMPUTED: "are byte for byte what their window gives",
}


class OfSymbols(NamedTuple):
    """What was found of the symbols of one partition, in one interval."""

    interval: str
    """Empty for the candle interval."""
    findings: list[Finding]
    counts: dict[str, Counter[str]]
    """Check -> verdict -> states."""
    tracked: int


def judge_all(client: Client, settings: Settings, tracked: set[str], judge: Judge) -> OfSymbols:
    findings = []
    interval = settings.longer_interval
    counts: dict[str, Counter[str]] = {check: Counter() for check in _SUMMARIES}
    for symbol in sorted(tracked):
        held = _held(client, settings, symbol)
        if isinstance(held, str):
            findings.append(Finding("FAIL", f"{symbol} {interval}".rstrip(), held, KEYS))
            continue
        for check, verdict, text in judge.judge(held):
            counts[check][verdict] += 1
            if text:
                findings.append(Finding(verdict, f"{symbol} {interval}".rstrip(), text, check))
    return OfSymbols(interval, findings, counts, len(tracked))


def published_symbols(client: Client, settings: Settings) -> dict[str, bool]:
    """The symbols that have a mark in the interval of these settings, and whether a state of each
    was published. Damaged marks count as published: their symbol is judged.
    """
    with client.pipeline(transaction=False) as reads:
        for shard in range(settings.shards):
            reads.hgetall(settings.keys.marks(shard))
        found = [pair for of_shard in reads.execute() for pair in of_shard.items()]
    return {printable(symbol): mark != b"0" for symbol, mark in found}


def summaries(every: Sequence[OfSymbols]) -> Iterator[Finding]:
    """The problems with single symbols, then one line for each check and interval."""
    for each in every:
        yield from each.findings
    for interval in dict.fromkeys(each.interval for each in every):
        of_interval = [each for each in every if each.interval == interval]
        tracked = sum(each.tracked for each in of_interval)
        for check, meaning in _SUMMARIES.items():
            counts = sum((each.counts[check] for each in of_interval), Counter[str]())
            verdict, text = _summary(meaning, counts, tracked)
            yield Finding(verdict, f"{check} {interval}".rstrip(), text, check)


def _held(client: Client, settings: Settings, symbol: str) -> Held | str:
    """What Redis holds of the symbol, or why it cannot be read."""
    keys = settings.keys

    def ask(reads: Pipeline) -> None:
        reads.time()
        reads.hget(keys.marks(settings.shard_of(symbol)), symbol)
        queue_reads_of(reads, keys, symbol)
        reads.lrange(keys.window(symbol), 0, -1)

    time, mark, fields, encoded, window = read_together(client, ask, raise_on_error=False)
    if isinstance(fields, redis.RedisError):
        return f"{keys.state(symbol)} cannot be read: {fields}"
    if isinstance(encoded, redis.RedisError):
        return f"{keys.record(symbol)} cannot be read: {encoded}"
    if isinstance(window, redis.RedisError):
        return f"{keys.window(symbol)} cannot be read: {window}"
    try:
        last_emitted_ms = parse_mark(b"0" if mark is None else mark).close_time_ms
    except ValueError as error:
        return f"its mark is damaged: {error}"
    published = published_of(fields, encoded)
    return Held(symbol, clock_ms(time), last_emitted_ms, published, b"".join(window))


def _summary(meaning: str, counts: Counter[str], tracked: int) -> tuple[str, str]:
    """The verdict and the text."""
    published = counts.total()
    text = f"{counts['ok']} of {published} states {meaning}"
    if counts["skip"]:
        text += f"; {counts['skip']} cannot be judged"
    if tracked > published:
        text += f"; symbols without a state yet: {tracked - published}"
    if counts["FAIL"]:
        return "FAIL", text
    return "ok" if counts["ok"] else "skip", text
