"""Judges whether a symbol's published state is correct, from a snapshot of its data in Redis.

This file is pure: `command.py` reads, this file judges. States must be equal byte for byte. The
window may be ahead of the last published state, because not every close is published; the state
must follow from the part of the window up to its close.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from marketstate.core.state import MarketState
from marketstate.schemas.candle import Candle
from marketstate.schemas.market_state import MarketStateRecord, UnknownRecord, encode_record
from marketstate.schemas.sequence import missing_within
from marketstate.worker.commands.durations import brief_duration
from marketstate.worker.engine import window_codec
from marketstate.worker.engine.published import Published
from marketstate.worker.engine.record import record_of, regime_in, template_of
from marketstate.worker.engine.utc import utc
from marketstate.worker.settings import Settings

COMPLETE: Final = "complete"
FRESH: Final = "fresh"
RECOMPUTED: Final = "recomputed"


class Held(NamedTuple):
    """A symbol's data in Redis, read at one moment."""

    symbol: str
    now_ms: float
    """Redis's clock."""
    last_emitted_ms: int
    """0 before the first state."""
    published: Published
    window: bytes
    """In the format of `window_codec`."""

    def age_s(self, time_ms: int) -> float:
        return (self.now_ms - time_ms) / 1_000


class Judgement(NamedTuple):
    check: str
    """COMPLETE, FRESH or RECOMPUTED."""
    verdict: Literal["ok", "skip", "FAIL"]
    """`skip` if it cannot be judged."""
    text: str = ""
    """Empty if there is nothing to report."""


class Judge:
    """`no_newer` says why a symbol has no newer close than that of its state."""

    def __init__(self, settings: Settings, max_state_age_s: float, no_newer: str) -> None:
        self._settings = settings
        self._max_state_age_s = max_state_age_s
        self._no_newer = no_newer
        self._market_state = MarketState.of_merged(settings.theta)

    def judge(self, held: Held) -> Iterator[Judgement]:
        """One judgement per check; none if this group has not published the symbol yet."""
        if not held.last_emitted_ms:
            return
        yield self._fresh(held)
        complete, record = self._complete(held)
        yield complete
        if record is not None:
            yield self._recomputed(held, record)
        else:
            yield Judgement(RECOMPUTED, "skip")

    def _fresh(self, held: Held) -> Judgement:
        age_s = held.age_s(held.last_emitted_ms)
        if -age_s > self._settings.max_ahead:
            return Judgement(
                FRESH,
                "FAIL",
                f"its last state is of a close {brief_duration(-age_s)} in the future, allowed: "
                f"{self._settings.max_ahead}s; see the clocks of the upstream and of Redis",
            )
        if age_s <= self._max_state_age_s:
            return Judgement(FRESH, "ok")
        try:
            last_ms = max(window_codec.unpack(held.window)[0].tolist(), default=0)
        except ValueError:
            last_ms = 0
        since = (
            f"its window has closes up to {brief_duration(held.age_s(last_ms))} ago"
            if last_ms > held.last_emitted_ms
            else self._no_newer
        )
        return Judgement(
            FRESH,
            "FAIL",
            f"its last state is for a close {brief_duration(age_s)} ago, "
            f"allowed: {self._max_state_age_s:g}s; {since}",
        )

    def _complete(self, held: Held) -> tuple[Judgement, MarketStateRecord | None]:
        if not held.published.fields:
            ttl_s = self._settings.state_ttl_s
            if held.age_s(held.last_emitted_ms) <= ttl_s:
                return Judgement(COMPLETE, "FAIL", "its hash is missing"), None
            return Judgement(COMPLETE, "skip", f"its hash has expired, after {ttl_s} s"), None
        try:
            record = held.published.record()
        except UnknownRecord as error:
            return Judgement(COMPLETE, "FAIL", str(error)), None
        return Judgement(COMPLETE, *self._hash_verdict(held, record)), record

    def _hash_verdict(
        self, held: Held, record: MarketStateRecord
    ) -> tuple[Literal["ok", "FAIL"], str]:
        if disagreement := held.published.disagreement(record):
            return "FAIL", disagreement
        if record.symbol != held.symbol:
            return "FAIL", f"its hash holds a state of {record.symbol!r}"
        if record.close_time_ms != held.last_emitted_ms:
            return "FAIL", (
                f"its hash is for the close {utc(record.close_time_ms)} UTC, but the last one "
                f"published is {utc(held.last_emitted_ms)}: another program has written to it"
            )
        return "ok", ""

    def _recomputed(self, held: Held, record: MarketStateRecord) -> Judgement:
        try:
            unpacked_ms, closes = window_codec.unpack(held.window)
            times_ms = unpacked_ms.tolist()
        except ValueError as error:
            return Judgement(RECOMPUTED, "FAIL", f"its window is damaged: {error}")
        at_hand = sum(time_ms <= record.close_time_ms for time_ms in times_ms)
        if not times_ms or (at_hand and times_ms[at_hand - 1] != record.close_time_ms):
            at = utc(record.close_time_ms)
            text = f"its window has no close at {at} UTC, the close of its state"
            return Judgement(RECOMPUTED, "FAIL", text)
        if obstacle := self._obstacle(record, at_hand, len(times_ms)):
            return obstacle
        # A full window may have dropped older closes since the state was published, so the number
        # of closes at that time is only known to be within bounds.
        is_full = len(times_ms) >= self._settings.window_size
        buffer_size = max(at_hand, record.buffer_size) if is_full else at_hand
        try:
            expected = self._record(record, times_ms[:at_hand], closes[:at_hand], buffer_size)
        except ValueError as error:
            return Judgement(RECOMPUTED, "FAIL", f"its window is damaged: {error}")
        if held.published.encoded in _encodings(expected):
            return Judgement(RECOMPUTED, "ok")
        return Judgement(RECOMPUTED, "FAIL", _first_difference(record, expected))

    def _obstacle(self, record: MarketStateRecord, at_hand: int, kept: int) -> Judgement | None:
        """Why the state cannot be compared: a failure if closes are missing in the window."""
        window_size, needed = self._settings.window_size, self._market_state.minimum_length
        verdict: Literal["skip", "FAIL"] = "skip"
        if record.theta_hash != self._settings.theta_hash:
            text = f"it was published with other parameters (theta {record.theta_hash})"
        elif record.buffer_size > max(kept, window_size):
            text = f"it was published with a longer window ({record.buffer_size} closes)"
        elif at_hand < record.buffer_size and kept < window_size:
            # Closes leave a window only when it is full.
            verdict = "FAIL"
            text = (
                f"the window in Redis has {at_hand} closes up to this state, which had "
                f"{record.buffer_size}: somebody has deleted or cut it, or it expired "
                "(`marketstate check` names TTLs). It fills again with the candles to come; until "
                "then do not restart the worker, which still has the whole window, unless a cache "
                "has the closes"
            )
        elif at_hand < needed:
            text = f"its window has moved on: {at_hand} closes up to its state, {needed} needed"
        else:
            return None
        return Judgement(RECOMPUTED, verdict, text)

    def _record(
        self, published: MarketStateRecord, times_ms: list[int], closes: Any, buffer_size: int
    ) -> MarketStateRecord:
        needed = self._market_state.minimum_length
        rows = self._market_state.rows(closes[np.newaxis])
        assert rows is not None, "there are as many closes as theta needs"
        [numbers] = rows.tolist()
        candle = Candle(
            symbol=published.symbol, close_time=published.close_time_ms, close=float(closes[-1])
        )
        return record_of(
            template_of(self._settings),
            candle,
            numbers,
            regime=regime_in(numbers),
            buffer_size=buffer_size,
            missing=missing_within(
                times_ms[-needed], times_ms[-1], needed, self._settings.candle_interval_ms
            ),
            reason=published.reason,
        )


def _encodings(record: MarketStateRecord) -> tuple[bytes, bytes]:
    """As this version publishes it, and as 0.1 did, which did not count missing candles."""
    text = encode_record(record)
    before = text.removesuffix(f',"missing":{record.missing}}}') + "}"
    return text.encode(), before.encode()


def _first_difference(published: MarketStateRecord, expected: MarketStateRecord) -> str:
    found = dict(leaves(msgspec.to_builtins(published)))
    for name, value in leaves(msgspec.to_builtins(expected)):
        if found.get(name) != value:
            return f"{name} is published as {found.get(name)!r}, but its window gives {value!r}"
    return "its record has the right values, but a worker would encode it differently"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a decoded record with its path, such as `regime_probs.trend`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value
