"""The preflight: checks whether a worker can run with these settings on this Redis.

`marketstate check` prints it, and every worker runs it at start.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, NamedTuple

import redis

from marketstate.core import kernel
from marketstate.core.state import MarketState
from marketstate.worker.engine import key_health, other_partitions
from marketstate.worker.engine.broken_commits import TO_COMPLETE, broken_commits
from marketstate.worker.engine.group import look
from marketstate.worker.engine.invented import TITLE, by_published, by_settings
from marketstate.worker.engine.lost_at_restart import lost_at_restart
from marketstate.worker.engine.published import others_in_words
from marketstate.worker.engine.rights import check_rights
from marketstate.worker.errors import CheckFailed, RedisUnusable
from marketstate.worker.settings import PREFIX, Settings
from marketstate.worker.store import connection
from marketstate.worker.store.known_holes import known_holes
from marketstate.worker.store.refusal import reason
from marketstate.worker.store.scripts import Scripts
from marketstate.worker.store.server_version import server_version

# A simple formula for a window, and its state from the slow twin in tests/support/oracle.py;
# tests/unit/test_preflight.py keeps the two in sync.
KNOWN_WINDOW: Final = [100 + (37 * i % 101) / 50 + i / 100 for i in range(257)]
KNOWN_STATE: Final = {
    "sigma": 0.00914599582746169,
    "mu": 0.0001234441702302829,
    "ts": 0.013497072658412263,
}
VERSION: Final = "version"


class Finding(NamedTuple):
    verdict: str
    """`ok` or `warn`. Anything worse raises in the preflight and is `FAIL` in `verify`. `skip`
    means that it cannot be judged.
    """
    subject: str
    text: str
    check: str = ""
    """What was checked, if the subject is a symbol or a partition for which it was."""

    @property
    def checked(self) -> str:
        return self.check or self.subject

    @property
    def log_level(self) -> int:
        """In a worker's log, what is true at every start of a server is no warning."""
        warns = self.verdict == "warn" and self.subject != VERSION
        return logging.WARNING if warns else logging.INFO

    def __str__(self) -> str:
        return f"{self.verdict:<4} {self.subject}: {self.text}"


def preflight(settings: Settings) -> Iterator[Finding]:
    """Raises a WorkerError at the first problem that would stop the worker."""
    try:
        yield from examined(settings)
    except redis.RedisError as error:
        raise connection.unusable(error, settings) from error


def examined(settings: Settings) -> Iterator[Finding]:
    """The findings of `preflight`; raises redis-py's own errors too, for callers who can wait."""
    yield from _said_first(settings)
    yield Finding("ok", "settings", f"for worker {settings.worker_id}")
    if lower := [each for each in sorted(settings.wanted_symbols or ()) if each != each.upper()]:
        yield Finding(
            "warn",
            "settings",
            f"{PREFIX}SYMBOLS has {', '.join(lower)} in lower case; symbols are case-sensitive, "
            "so candles whose symbols are in upper case will be ignored",
        )
    yield _calculation()
    with connection.open_client(settings, block_s=0) as client:
        yield from _server(client, settings)
        checked = check_rights(settings)
        yield Finding(
            "ok",
            "rights",
            f"Redis allows the user {settings.redis_user!r} all that a worker does: {checked} "
            "commands on keys checked, none carried out",
        )
        yield _key_types(client, settings)
        yield from _commits(client, settings)
        yield Finding(
            "ok", f"group {settings.group}", look(Scripts(client, settings.keys), settings)
        )
        if text := other_partitions.in_words(client, settings):
            yield Finding("warn", "partitions", text)
        symbols = key_health.some_symbols(client, settings)
        yield from _key_health(client, settings, symbols)
        yield from _other_programs(client, settings, symbols)
        if settings.source == "candles":
            yield from others_with_our_outputs(client, settings)


def _said_first(settings: Settings) -> Iterator[Finding]:
    """While Redis cannot be read, nothing of it: that is reported where it belongs."""
    found = [*by_settings(settings)]
    with suppress(redis.RedisError), connection.open_client(settings, block_s=0) as client:
        found += by_published(client, settings)
    yield from (Finding("warn", TITLE, each.text) for each in found)


def _calculation() -> Finding:
    state = MarketState().get_state("KNOWN", KNOWN_WINDOW)
    for name, expected in KNOWN_STATE.items():
        found = state[name] if state else math.nan  # type: ignore[literal-required]
        if not math.isclose(found, expected, rel_tol=1e-9):
            raise CheckFailed(
                f"the calculation is wrong on this machine: {name} of the built-in window is "
                f"{found!r}, expected {expected!r}; reinstall numpy and this package"
            )
    way = (
        "compiled"
        if kernel.is_compiled()
        else "not compiled; it is many times faster if a C compiler is available when this "
        "package is installed"
    )
    return Finding("ok", "calculation", f"the built-in window gives the right state ({way})")


def _server(client: connection.Client, settings: Settings) -> Iterator[Finding]:
    info = connection.server_info(client)
    where = connection.address(settings)
    version = server_version(info)
    yield Finding("ok", "redis", f"{version} at {where}")
    if holes := known_holes(version):
        yield Finding("warn", VERSION, holes)
    # Not by the mode, which Valkey and Redict report under other names.
    if info.get("cluster_enabled") and settings.partitions is None:
        raise RedisUnusable(
            f"Redis at {where} is part of a cluster; set {PREFIX}PARTITIONS, and "
            f"{PREFIX}REDIS_URL to redis+cluster://HOST:PORT,HOST:PORT; see "
            "deploy/redis/README.md, Cluster"
        )
    try:
        connection.refuse_writable_replica(client)
    except redis.ReadOnlyError as error:
        # A worker that runs waits for this to change; one that starts has the wrong address.
        raise connection.unusable(error, settings) from error
    if info.get("role") == "slave" and not settings.on_cluster:
        raise RedisUnusable(f"Redis at {where} is a read-only replica; connect to its master")
    for text in lost_at_restart(client, settings, info, version):
        yield Finding("warn", "append-only log", text)
    most = int(info.get("maxmemory", 0))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if most > 0 and policy != "noeviction":
        yield Finding(
            "warn",
            "redis",
            f"maxmemory-policy is {policy}: a full Redis may drop windows and leases; "
            "noeviction is safe",
        )


def _key_types(client: connection.Client, settings: Settings) -> Finding:
    key_health.check_types(client, settings)
    state = "exists" if client.exists(settings.keys.input) else "does not exist yet"
    text = f"all of the right type; input stream {settings.keys.input} {state}"
    return Finding("ok", "keys", text)


def _commits(client: connection.Client, settings: Settings) -> Iterator[Finding]:
    commits: Any = client.hgetall(settings.keys.commits)
    for commit in broken_commits(commits):
        yield Finding("warn", "commits", f"{commit}; {TO_COMPLETE}")


def _key_health(
    client: connection.Client, settings: Settings, symbols: Sequence[bytes]
) -> Iterator[Finding]:
    aside, hidden = key_health.set_aside(client, settings.keys)
    if hidden:
        yield Finding("warn", "quarantine", hidden)
    for symbol, why in islice(aside.items(), key_health.SHOWN):
        yield Finding("warn", symbol, f"is set aside: {why}")
    if len(aside) > key_health.SHOWN:
        text = f"{len(aside) - key_health.SHOWN} more symbols are set aside; `status` shows them"
        yield Finding("warn", "quarantine", text)
    for text in key_health.expiries(client, settings, symbols):
        yield Finding("warn", "expiry", text)


def _other_programs(
    client: connection.Client, settings: Settings, symbols: Sequence[bytes]
) -> Iterator[Finding]:
    known = (each.decode(errors="replace") for each in symbols)
    wanted = sorted(settings.wanted_symbols or ())
    for text in others_in_words(client, settings, [*wanted, *known]):
        yield Finding("warn", "other program", text)


def others_with_our_outputs(client: connection.Client, settings: Settings) -> Iterator[Finding]:
    """A finding per group, also for one of which that cannot be seen. Another group on the same
    input with our output keys would publish every state twice, and push older states out of the
    capped output stream.
    """
    keys = settings.keys
    groups: Any = client.xinfo_groups(keys.input) if client.exists(keys.input) else []
    for group in groups:
        name = group["name"].decode(errors="replace")
        if name == keys.group:
            continue
        subject, meta = f"group {key_health.printable(group['name'])}", keys.meta_of(name)
        try:
            known: Any = client.hget(meta, "settings") or b""
        except redis.ResponseError as error:
            # A group may have any name, and what has that key is not ours.
            text = "reads the same input; its meta key does not say where it publishes"
            yield Finding("skip", subject, f"{text}: {reason(error)}")
            continue
        shared = {
            f"output_prefix={settings.output_prefix}",
            f"output_stream={settings.output_stream}",
        }
        if shared & {*known.decode(errors="replace").split(" ")}:
            yield Finding(
                "warn",
                subject,
                "reads the same input and publishes to the same keys as this group; give one of "
                f"them other output keys ({PREFIX}OUTPUT_PREFIX, _OUTPUT_STREAM), or remove it",
            )
