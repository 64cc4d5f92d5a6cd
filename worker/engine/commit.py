"""Writes the changes of a batch to Redis: all or none, and only while we hold the leases."""

import logging
import secrets
from functools import partial
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import NoScriptError

from marketstate.schemas.market_state import journal_line
from marketstate.worker.engine.broken_commits import broken_off
from marketstate.worker.engine.changes import Changes, DeadLetter
from marketstate.worker.engine.counters import warn_of_damaged
from marketstate.worker.engine.loading import wrong_type_text
from marketstate.worker.engine.one_regime import OneRegime
from marketstate.worker.engine.plan import Plan, binary
from marketstate.worker.engine.shards import Shards
from marketstate.worker.errors import (
    LeaseLost,
    RedisUnusable,
    RolledBack,
    SymbolsDamaged,
    WrongKeyType,
)
from marketstate.worker.keys import shard_name
from marketstate.worker.log import log
from marketstate.worker.settings import Settings
from marketstate.worker.store.asking_client import AskingClient, Reply
from marketstate.worker.store.scripts import Scripts


class Sent(NamedTuple):
    """A commit whose reply is still to be read."""

    changes: Changes
    reply: Reply


class Commit:
    def __init__(
        self, settings: Settings, client: AskingClient, scripts: Scripts, shards: Shards
    ) -> None:
        self._settings = settings
        self._keys = settings.keys
        self._client = client
        self._scripts = scripts
        self._shards = shards
        self._one_regime = OneRegime(settings.candle_interval)
        self._journal_line = partial(journal_line, candle_interval=settings.candle_interval)
        self._under_way: Sent | None = None
        self._load_script()

    def apply(self, changes: Changes) -> None:
        """Write, then move, then log:

        1. one script checks everything that can be checked, the leases first; only then it writes
           windows, states, outputs, dead letters, counters and marks, and acknowledges;
        2. the windows in memory move;
        3. the log says what was published.

        Raises LeaseLost if we no longer hold one of the leases, RolledBack if Redis is not where we
        left it, and SymbolsDamaged for keys of symbols that cannot be written to: nothing was
        written. Raises CommitBrokenOff if a part was written: the worker that loads one of the
        shards next completes it. After a connection error, the changes may or may not be written.
        Except after SymbolsDamaged, load from Redis what is true, and never send the changes again.
        """
        commit_id = secrets.token_hex(8)
        reply = self._write(changes, commit_id)  # 1
        committed_ms = self._check(reply, changes)
        self._shards.move(changes, commit_id, committed_ms)  # 2
        self._tell(changes)  # 3

    def begin(self, changes: Changes) -> None:
        """Write, but do not wait: `finish` does, before the next commit. The windows in memory move
        now, so that the next batch can be calculated while Redis works.

        Raises LeaseLost as `apply`.
        """
        assert self._under_way is None, "at most one"
        commit_id = secrets.token_hex(8)
        reply = self._client.ask(self._scripts.commit, *self._plan(changes, commit_id))
        self._under_way = Sent(changes, reply)
        self._shards.move(changes, commit_id)

    def finish(self) -> bool:
        """Wait for the commit that is under way, if any. False if it was refused: memory was ahead
        of Redis, so its shards are dropped, and with them what was calculated since.

        Otherwise raises as `apply`.
        """
        sent, self._under_way = self._under_way, None
        if sent is None:
            return True
        try:
            self._check(sent.reply.read(), sent.changes)
        except NoScriptError:
            self._load_script()
        except (LeaseLost, SymbolsDamaged) as refused:
            log.warning("%s; the shards of its batch are loaded again", refused)
        else:
            self._tell(sent.changes)
            return True
        self._shards.drop(sent.changes.finished)
        return False

    def _load_script(self) -> None:
        """Redis may not have it yet, or have forgotten it; `begin` does not load it."""
        self._client.script_load(self._scripts.commit.script)

    def _tell(self, changes: Changes) -> None:
        for counter, warning in changes.warnings:
            log.warning(warning, extra={"kind": counter})
        for about, (counter, warning) in changes.told_once.items():
            log.warning(warning, extra={"kind": counter, "once": about})
        for error in changes.errors:
            log.error(error, extra={"kind": "internal error"})
        self._one_regime.note(changes.records)
        if changes.records and log.isEnabledFor(logging.INFO):
            # In one call: a call for each would take more than half as long as the commit.
            log.info("\n".join(map(self._journal_line, changes.records)))
        for names in changes.retired.values():
            self._one_regime.forget(names)
            log.info(
                "retired %d symbols that had no candle for %s or longer, such as %s",
                len(names),
                self._settings.retire_after,
                names[0],
            )

    def _with_all_fields(self, dead: list[DeadLetter]) -> list[DeadLetter]:
        """`route.lua` returns only some fields of an entry with a payload."""
        ids = [letter.entry.id for letter in dead if b"payload" in letter.entry.fields]
        if not ids:
            return dead
        found = self._scripts.entries(keys=[self._keys.input], args=ids)
        fields = {row[0]: dict(zip(row[1][::2], row[1][1::2], strict=True)) for row in found if row}
        return [
            letter._replace(
                entry=letter.entry._replace(fields=fields.get(letter.entry.id, letter.entry.fields))
            )
            for letter in dead
        ]

    def _write(self, changes: Changes, commit_id: str) -> Any:
        return self._scripts.commit(*self._plan(changes, commit_id))

    def _plan(self, changes: Changes, commit_id: str) -> tuple[list[str], list[str | bytes]]:
        """Keys and arguments of the script."""
        changes.dead = self._with_all_fields(changes.dead)
        plan = Plan(changes, self._settings)
        arguments = {
            "shards": [
                (
                    self._shards.token(shard),
                    shard_name(shard),
                    *binary((self._shards.last_commit(shard), entry_ids[-1] if entry_ids else b"")),
                )
                for shard, entry_ids in changes.finished.items()
            ],
            "symbols": len(plan.symbols),
            "others": plan.others,
            "streams": plan.streams,
            "commands": plan.commands(),
        }
        packed = msgspec.msgpack.encode(arguments)
        return plan.keys, [self._keys.group, commit_id, packed, *plan.records]

    def _check(self, reply: list[Any], changes: Changes) -> int:
        """Redis's time of the commit in ms."""
        match reply:
            case [b"done", committed_ms, *damaged]:
                warn_of_damaged(self._keys, damaged)
                return int(committed_ms)
            case [b"lease lost", *indexes]:
                shards = list(changes.finished)
                raise LeaseLost([shards[index] for index in indexes])
            case [b"rolled back", index, found]:
                shard = list(changes.finished)[index]
                raise RolledBack(
                    f"it is back at older data: the last commit of shard {shard} is "
                    f"{found.decode(errors='replace') or 'none'} there, not the one that this "
                    "worker made or loaded"
                )
            case [b"gone", index, entry_id]:
                raise RolledBack(
                    f"it is back at older data: entry {entry_id.decode()} of "
                    f"{shard_name(list(changes.finished)[index])} is not there, or not routed yet"
                )
            case [b"damaged", *found]:
                symbols = Plan(changes, self._settings).symbols
                raise SymbolsDamaged(
                    {symbols[index]: wrong_type_text(key, holds) for index, key, holds in found}
                )
            case [b"wrong type", key, found]:
                raise WrongKeyType(
                    f"the key {key.decode()} holds a {found.decode()}, which the worker cannot "
                    "write to; rename or delete it"
                )
            case [b"full", stream, last_id]:
                raise RedisUnusable(
                    f"the stream {stream.decode()} takes no more entries: its last id is "
                    f"{last_id.decode()}, and a new id must be greater; rename or delete the stream"
                )
            case [b"broken off", failure]:
                raise broken_off(self._keys, changes.finished, failure)
            case _:
                raise AssertionError(f"commit.lua answered {reply!r}")
