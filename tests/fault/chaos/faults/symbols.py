"""What Redis holds of a symbol is damaged by somebody, and repaired some time later.

Content is read when a shard is loaded. So where only the content is damaged, the lease of the shard
is deleted in the same step: its holder takes it again, and loads.
"""

import json
import random
import struct
from collections.abc import Generator, Sequence
from math import nan
from typing import Final, NamedTuple

import redis

from tests.fault.chaos import notes
from tests.fault.chaos.entries import MINUTE_MS, new_candle, symbols_of
from tests.fault.chaos.names import Names
from tests.fault.chaos.notes import Command
from tests.fault.chaos.stage import Stage, Steps, until, until_or

TIME_TO_NOTICE_S: Final = 5.0
TIME_TO_GO_ON_S: Final = 30.0
AT_ONE_TIME_MS: Final = 1_795_000_000_000


class Keys(NamedTuple):
    state: str
    record: str
    window: str
    marks: str
    lease: str


class Damage(NamedTuple):
    what: str
    key: str
    """`state`, `record`, `window` or `mark`."""
    commands: Sequence[Command]
    """`KEY` stands for the key's name, or for marks and the symbol."""


def _candle(close_time_ms: int, close: float) -> bytes:
    return struct.pack("<qd", close_time_ms, close)


DAMAGES: Final = (
    Damage("a string for the state", "state", [("DEL", "KEY"), ("SET", "KEY", "mine")]),
    Damage("a list for the state", "state", [("DEL", "KEY"), ("RPUSH", "KEY", "mine")]),
    Damage("a list for the record", "record", [("DEL", "KEY"), ("RPUSH", "KEY", "mine")]),
    Damage("a string for the window", "window", [("DEL", "KEY"), ("SET", "KEY", "mine")]),
    Damage("a hash for the window", "window", [("DEL", "KEY"), ("HSET", "KEY", "a", "b")]),
    Damage("NaN in the window", "window", [("RPUSH", "KEY", _candle(AT_ONE_TIME_MS * 2, nan))]),
    Damage("a close of 0", "window", [("LSET", "KEY", "0", _candle(AT_ONE_TIME_MS, 0.0))]),
    Damage("a time of 1970", "window", [("LSET", "KEY", "0", _candle(1, 100.0))]),
    Damage("times that go back", "window", [("RPUSH", "KEY", _candle(AT_ONE_TIME_MS, 100.0))]),
    Damage("7 bytes in the window", "window", [("RPUSH", "KEY", b"7 bytes")]),
    Damage("a mark that is text", "mark", [("HSET", "KEY", "abc")]),
    Damage("a mark that is empty", "mark", [("HSET", "KEY", "")]),
    Damage("a mark that is not UTF-8", "mark", [("HSET", "KEY", b"\xff\xfe")]),
)


def symbol_damaged(stage: Stage, rng: random.Random) -> Steps:
    symbol = yield from _some_symbol(stage, rng)
    damage = rng.choice(DAMAGES)
    stage.note(f"{symbol}: {damage.what}")
    interval = _some_interval(stage, rng, symbol)
    with stage.client() as client:
        do_damage(client, stage.names, symbol, damage, interval)
    noticed = yield from until_or(lambda: _is_set_aside(stage, symbol), TIME_TO_NOTICE_S)
    # At least one entry comes while it is set aside; later, it would only be late.
    candle = json.dumps(new_candle(symbol, stage.feeder.first_close_ms - MINUTE_MS))
    stage.act([("EXTRA", "payload", candle)])
    yield rng.uniform(0.1, 1)
    may_start_over = damage.key in ("window", "mark") and not interval
    starts_over = noticed and may_start_over and rng.random() < 0.5
    stage.note(f"{symbol}: repaired, {'without what it was' if starts_over else 'as it was'}")
    with stage.client() as client:
        repair(client, stage.names, symbol, damage.key, interval, starts_over=starts_over)
    if not (yield from until_or(lambda: not _is_set_aside(stage, symbol), TIME_TO_GO_ON_S)):
        stage.complain(f"{symbol} is set aside {TIME_TO_GO_ON_S:.0f} s after its repair")
    stage.act([], symbol, what="goes on")
    return noticed


def window_gone(stage: Stage, rng: random.Random) -> Steps:
    """As after an eviction, or a TTL that somebody has set."""
    symbol = yield from _some_symbol(stage, rng)
    stage.note(f"{symbol}: its window is deleted")
    lost = stage.processes.said("windows of")
    keys = _keys(stage.names, symbol)
    stage.act([("DEL", keys.window), ("DEL", keys.lease)], symbol, what="window starts over")
    return (yield from until_or(lambda: stage.processes.said("windows of") > lost))


def do_damage(
    client: redis.Redis, names: Names, symbol: str, damage: Damage, interval: str = ""
) -> None:
    """To a key of the candle interval, or of a longer one."""
    keys = _keys(names.of_interval(interval), symbol)
    if damage.key == "mark":
        kept: Command = ("KEEP FIELD", keys.marks, symbol)
        name: Command = (keys.marks, symbol)
    else:
        kept, name = ("KEEP", getattr(keys, damage.key)), (getattr(keys, damage.key),)
    done = [(command[0], *name, *command[2:]) for command in damage.commands]
    commands = [kept, *done, ("DEL", keys.lease)]
    note = {"what": "damaged", "key": damage.key, "interval": interval}
    notes.act(client, names, commands, symbol, **note)


def repair(
    client: redis.Redis,
    names: Names,
    symbol: str,
    key: str,
    interval: str = "",
    *,
    starts_over: bool = False,
) -> None:
    """As it was; or without the key, so that the window, or the emission mark, starts over."""
    keys = _keys(names.of_interval(interval), symbol)
    note = {"what": f"{key} starts over"} if starts_over else {"what": "repaired"}
    commands: list[Command]
    if key == "mark":
        commands = [("HDEL" if starts_over else "BACK FIELD", keys.marks, symbol)]
    else:
        commands = [("DEL" if starts_over else "BACK", getattr(keys, key))]
    notes.act(client, names, commands, symbol, **note)


def repair_all(client: redis.Redis, names: Names) -> None:
    """What is still damaged, because a Redis that went back to older data forgot the repair."""
    is_damaged: dict[str, tuple[str, str]] = {}
    for note in notes.read(client, names):
        match note:
            case {"what": "damaged", "symbol": symbol, "key": key, "interval": interval}:
                is_damaged[symbol] = key, interval
            case {"what": "repaired" | "window starts over" | "mark starts over", "symbol": symbol}:
                is_damaged.pop(symbol, None)
    for symbol, (key, interval) in is_damaged.items():
        repair(client, names, symbol, key, interval)


def _keys(names: Names, symbol: str) -> Keys:
    shard = names.shard_of(symbol)
    return Keys(
        f"{names.state_prefix}{symbol}",
        f"{names.record_prefix}{symbol}",
        f"{names.window_prefix}{symbol}",
        names.marks(shard),
        names.lease(shard),
    )


def _some_symbol(stage: Stage, rng: random.Random) -> Generator[float, None, str]:
    yield from until(lambda: _in_order(stage), "a symbol has a window")
    symbol: str = rng.choice(_in_order(stage))
    return symbol


def _some_interval(stage: Stage, rng: random.Random, symbol: str) -> str:
    """A longer one of which the symbol has a window; empty for the candle interval."""
    master = stage.servers.master
    found = [
        name
        for name in stage.longer
        if master.command("EXISTS", f"{stage.names.of_interval(name).window_prefix}{symbol}")
    ]
    return rng.choice(["", *found]) if found else ""


def _in_order(stage: Stage) -> list[str]:
    """The symbols of the feeder that have a window and are not set aside."""
    symbols = symbols_of(stage.names)
    with stage.client() as client, client.pipeline() as reads:
        reads.hkeys(stage.names.quarantine)
        for symbol in symbols:
            reads.type(_keys(stage.names, symbol).window)
        aside, *types = reads.execute()
    return [
        symbol
        for symbol, kind in zip(symbols, types, strict=True)
        if kind == b"list" and symbol.encode() not in aside
    ]


def _is_set_aside(stage: Stage, symbol: str) -> bool:
    return bool(stage.servers.master.command("HEXISTS", stage.names.quarantine, symbol))
