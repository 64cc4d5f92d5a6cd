"""Every setting: its variable, default and allowed values. Only this module reads the environment.

`Settings` is the table: the field `publish_interval` is read from
`MARKETSTATE_PUBLISH_INTERVAL`, and its annotation says what is allowed.
"""

import difflib
import math
import os
import re
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, get_type_hints

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from marketstate.core.theta import Theta, hash_of_merged, merged_theta, minimum_length
from marketstate.schemas.interval import INTERVAL_PATTERN, interval_ms, state_step_ms
from marketstate.schemas.longer import interval_prefix, interval_stream, longer_interval
from marketstate.schemas.partitions import (
    INPUT_STREAM,
    partition_key,
    partition_of,
    partition_prefix,
    tag,
)
from marketstate.schemas.sequence import shortest_gap_ms
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.keys import Keys, internal_prefix_of, shard_of
from marketstate.worker.redis_url import check_url, has_password, is_cluster, masked_url, user_of
from marketstate.worker.setting_files import (
    credential_from,
    password_from,
    theta_from,
    variables_from,
    write_variables,
)

PREFIX: Final = "MARKETSTATE_"
STATE_TTL_IN_STEPS: Final = 10
MOST_PARTITIONS: Final = 256
MOST_SHARDS: Final = 256
SECRETS: Final = ("redis_password", "redis_url")
"""Settings that are never shown, and that `hand_over` leaves out."""
_EXTRAS: Final = ("partition", "longer_interval", "theta")
_CREDENTIAL: Final = "the systemd credential redis-password"
# systemd, like others that read such files, takes what is behind a value as a part of it.
_COMMENT: Final = re.compile(r"\s#|#\s")
_NEVER_READ: Final = {
    "THETA_OVERRIDE": "no version has ever read it: put the parameters to override into a JSON "
    f"file, and name that in {PREFIX}THETA_FILE"
}
_SEVERAL: Final = frozenset("*?[,")

_ONE_INTERVAL: Final = INTERVAL_PATTERN.removeprefix(r"\A").removesuffix(r"\Z")

Name = Annotated[
    str,
    Meta(pattern=r"\A[^\s{}]{1,200}\Z", description="1 to 200 characters, no spaces or braces"),
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The effective settings of one worker. Durations without a unit in the name are seconds."""

    symbols: str = "all"
    publish_interval: Annotated[
        int, Meta(ge=1, le=604_800, description="whole seconds, 1 to 604800")
    ] = 60
    window_size: Annotated[
        int, Meta(ge=2, le=100_000, description="a number of closes, at most 100000")
    ] = 300
    candle_interval: Annotated[
        str,
        Meta(
            pattern=INTERVAL_PATTERN,
            description="a number and s, m, h, d or w, such as 1m or 4h",
        ),
    ] = "1m"
    intervals: Annotated[
        str,
        Meta(
            pattern=rf"\A{_ONE_INTERVAL}(\s*,\s*{_ONE_INTERVAL})*\Z",
            description="comma-separated intervals, such as 1m,5m,1h",
        ),
    ] = ""
    rate_clock: Annotated[Literal["candle", "wall"], Meta(description="candle or wall")] = "candle"
    emit_on_regime_change: Annotated[bool, Meta(description="true or false")] = False
    source: Annotated[Literal["candles", "synthetic"], Meta(description="candles or synthetic")] = (
        "candles"
    )
    redis_host: Annotated[
        str,
        Meta(
            pattern=r"\A[^\s{}/@]{1,200}\Z",
            description="a host name or address; a URL goes into MARKETSTATE_REDIS_URL",
        ),
    ] = "localhost"
    redis_port: Annotated[int, Meta(ge=1, le=65_535, description="a port, 1 to 65535")] = 6379
    redis_db: Annotated[int, Meta(ge=0, le=1_000_000, description="0 or more")] = 0
    redis_username: str | None = None
    redis_password: str | None = None
    redis_password_file: str | None = None
    redis_url: Annotated[
        str,
        Meta(
            pattern=r"\A(rediss?(\+(sentinel|cluster))?|unix)://",
            description="a URL that starts with redis://, rediss://, unix://, redis+sentinel:// or "
            "redis+cluster://",
        ),
    ] = ""
    input_stream: Name = INPUT_STREAM
    max_ahead: Annotated[int, Meta(ge=0, le=604_800, description="whole seconds, 0 to 604800")] = 60
    group: Name = "marketstate"
    output_prefix: Name = "quantum:marketstate:"
    output_stream: Name = "quantum:stream:marketstate"
    output_maxlen: Annotated[
        int, Meta(ge=1, le=10**9, description="a number of entries, at least 1")
    ] = 10_000
    dead_stream: Name = "quantum:stream:marketstate.dead"
    dead_maxlen: Annotated[
        int, Meta(ge=1, le=10**9, description="a number of entries, at least 1")
    ] = 10_000
    shards: Annotated[int, Meta(ge=1, le=MOST_SHARDS, description=f"1 to {MOST_SHARDS}")] = 16
    partitions: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_PARTITIONS)] | None,
        Meta(description=f"1 to {MOST_PARTITIONS}"),
    ] = None
    start: Annotated[Literal["warm", "replay", "new"], Meta(description="warm, replay or new")] = (
        "warm"
    )
    backfill_keys: Annotated[
        str, Meta(description="comma-separated keys, each containing {symbol}, or 'none'")
    ] = (
        "candles:{symbol}:1m,quantum:candles:{symbol},"
        "klines:{symbol}:1m,quantum:history:ohlcv:{symbol}:1m"
    )
    theta_file: str | None = None
    lease_seconds: Annotated[float, Meta(ge=1, le=3_600, description="seconds, 1 to 3600")] = 10.0
    batch: Annotated[int, Meta(ge=1, le=2_000, description="a number of entries, 1 to 2000")] = 500
    max_pending: Annotated[
        int, Meta(ge=1, le=10**7, description="a number of entries, at least 1")
    ] = 10_000
    retire_after: Annotated[
        str,
        Meta(
            pattern=r"\A([1-9][0-9]{0,3}[smhdw]|never)\Z",
            description="a number and s, m, h, d or w, such as 30d; or never",
        ),
    ] = "30d"
    max_gap: Annotated[
        Annotated[int, Meta(ge=0, le=10**9)] | None,
        Meta(description="a number of candles, 0 to 1000000000"),
    ] = None
    max_symbols: Annotated[
        int, Meta(ge=1, le=10**7, description="a number of symbols, at least 1")
    ] = 100_000
    worker_id: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9@._-]{1,128}\Z",
            description="1 to 128 letters, digits and @ . _ -",
        ),
    ] = "worker"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        Meta(description="DEBUG, INFO, WARNING or ERROR"),
    ] = "INFO"
    replay_namespace: Annotated[
        str,
        Meta(
            pattern=r"\A[A-Za-z0-9._-]{0,64}\Z",
            description="the name of a replay: 1 to 64 letters, digits and . _ -",
        ),
    ] = ""
    # Not variables: the partition and the longer interval that these settings are for, and the
    # overrides in theta_file, merged with the defaults.
    partition: int | None = None
    longer_interval: str = ""
    theta: Theta

    @cached_property
    def theta_hash(self) -> str:
        """Published in every record."""
        return hash_of_merged(self.theta)

    @property
    def redis_user(self) -> str:
        """As whom we log in; without a name, Redis takes the user `default`."""
        return user_of(self.redis_url) or self.redis_username or "default"

    @property
    def on_cluster(self) -> bool:
        """Whether the URL names nodes of a Redis Cluster. A plain URL may lead to one, too."""
        return is_cluster(self.redis_url)

    @property
    def candle_interval_ms(self) -> int:
        return interval_ms(self.candle_interval) or 0

    @property
    def publish_interval_ms(self) -> int:
        return self.publish_interval * 1_000

    @property
    def max_ahead_ms(self) -> int:
        """How long after its entry was written a candle may close: the error of clocks."""
        return self.max_ahead * 1_000

    @property
    def state_step_ms(self) -> int:
        """Time between two states of a symbol without missing candles."""
        return state_step_ms(self.candle_interval_ms, self.publish_interval_ms)

    @property
    def state_ttl_s(self) -> int:
        """When a published hash expires after its last state."""
        return STATE_TTL_IN_STEPS * self.state_step_ms // 1_000

    @property
    def retire_after_ms(self) -> float:
        """How long a symbol may be silent before it is forgotten; infinite for never."""
        return interval_ms(self.retire_after) or math.inf

    @property
    def most_missing(self) -> int:
        """Candles that may be missing in a row; if not set, as many as theta needs."""
        return minimum_length(self.theta) if self.max_gap is None else self.max_gap

    @property
    def starts_over_after_ms(self) -> float:
        """The shortest time between two candles with which the window of a symbol starts over."""
        return self.starts_over_after_ms_of(self.candle_interval_ms)

    def starts_over_after_ms_of(self, candle_interval_ms: int) -> float:
        """The same for candles of another interval."""
        more_are_missing_ms = shortest_gap_ms(self.most_missing + 1, candle_interval_ms)
        return min(self.retire_after_ms, more_are_missing_ms)

    @property
    def forgets_symbols(self) -> bool:
        """Whether symbols without a candle for so long leave memory and Redis. A replay feeds old
        candles at its own pace, and its keys are deleted as a whole.
        """
        return self.retire_after_ms < math.inf and not self.replay_namespace

    @property
    def marks_are_long(self) -> bool:
        """Whether marks must remember more of the last emission than its close time."""
        return self.emit_on_regime_change or self.rate_clock == "wall"

    @property
    def lease_ms(self) -> int:
        return int(self.lease_seconds * 1_000)

    @property
    def wanted_symbols(self) -> frozenset[str] | None:
        """The symbols to process; None for all."""
        return None if self.symbols.lower() == "all" else frozenset(_items(self.symbols))

    @property
    def input_streams(self) -> list[str]:
        """The streams and patterns that `gather` reads; otherwise there is one stream."""
        return _items(self.input_stream)

    @property
    def backfill_patterns(self) -> tuple[str, ...]:
        """The caches of this interval: for a longer one, those that name it."""
        patterns = [] if self.backfill_keys == "none" else _items(self.backfill_keys)
        return tuple(
            pattern.replace("{interval}", self.candle_interval)
            for pattern in patterns
            if not self.longer_interval or "{interval}" in pattern
        )

    @cached_property
    def longer(self) -> tuple[Self, ...]:
        """The settings of each longer interval, the shortest first: its candles are made of those
        of the candle interval.
        """
        if self.longer_interval:
            return ()
        names = [name for name in _items(self.intervals) if name != self.candle_interval]
        return tuple(map(self.of_longer, sorted(names, key=lambda name: interval_ms(name) or 0)))

    def of_longer(self, interval: str) -> Self:
        """The settings of one longer interval: with its own windows, marks and outputs."""
        return replace(self, candle_interval=interval, longer_interval=interval)

    @property
    def each_interval(self) -> tuple[Self, ...]:
        """The settings of every interval; without longer ones, there is one."""
        return (self, *self.longer)

    @property
    def suffix(self) -> str:
        """Of keys and counters of a longer interval, such as `.5m`; empty for others."""
        return f".{self.longer_interval}" if self.longer_interval else ""

    def of_partition(self, partition: int) -> Self:
        """The settings of one partition: it is a group of its own, with its own keys."""
        return replace(self, partition=partition)

    def each_partition(self) -> list[Self]:
        """The settings of each group there is: without partitions, there is one."""
        if self.partitions is None:
            return [self]
        return [self.of_partition(partition) for partition in range(self.partitions)]

    @property
    def tag(self) -> str:
        """`{p07}`: what every key of the partition contains; empty if it is not of one."""
        return "" if self.partition is None else tag(self.partition)

    def has(self, symbol: str) -> bool:
        """Whether a symbol belongs to the partition."""
        partitions = self.partitions or 1
        return self.partition is None or partition_of(symbol, partitions) == self.partition

    def shard_of(self, symbol: str) -> int:
        """The shard of a symbol, in its partition."""
        return shard_of(symbol, self.shards, self.partitions or 1)

    @property
    def most_symbols(self) -> int:
        """How many the group may have: `max_symbols` is for all partitions together."""
        return math.ceil(self.max_symbols / (self.partitions or 1))

    @property
    def keys(self) -> Keys:
        """The keys of the group. With partitions, each has its own: see `each_partition`."""
        if self.partitions is not None and self.partition is None:
            raise ValueError("the keys of which partition? See each_partition")
        # Synthetic candles never share a stream, a window or a mark with real ones.
        suffix, other = ("", ".synthetic")
        if self.source == "synthetic":
            suffix, other = other, suffix

        def tagged(name: str) -> str:
            return partition_key(name, self.partition)

        prefix, stream = self.output_prefix, self.output_stream
        if self.longer_interval:
            prefix = interval_prefix(prefix, self.longer_interval)
            stream = interval_stream(stream, self.longer_interval)
        return Keys(
            input=tagged(self.input_stream + suffix),
            group=self.group,
            output_prefix=partition_prefix(prefix, self.partition),
            output_stream=tagged(stream),
            dead_stream=tagged(self.dead_stream),
            internal_prefix=tagged(internal_prefix_of(self.group + suffix)),
            other_source_prefix=tagged(internal_prefix_of(self.group + other)),
            partition=self.partition,
            suffix=self.suffix,
        )

    def described(self) -> str:
        """Every effective setting as `name=value`, with secrets masked."""
        return " ".join(
            f"{name}={_masked(name, getattr(self, name))}"
            for name in self.__struct_fields__
            if name not in _EXTRAS
        )


class Explained(NamedTuple):
    """A setting and its value in an environment, with secrets masked."""

    name: str
    allowed: str
    default: str
    here: str
    given: str
    """Its text in the environment, in full; empty if it is not set."""

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def is_secret(self) -> bool:
        return self.name in SECRETS


def explained(environ: Mapping[str, str] = os.environ) -> list[Explained]:
    """All settings in their order. Values need not be valid."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = {each.name: each.default for each in msgspec.structs.fields(Settings)}
    found = []
    for name in _names():
        default = "host and process id" if name == "worker_id" else _as_given(defaults[name])
        given = environ.get(f"{PREFIX}{name.upper()}", "").strip()
        here = _masked(name, given) if given else default
        description = next(
            (meta.description for meta in getattr(hints[name], "__metadata__", ())), "any text"
        )
        found.append(Explained(name, description, default, here, given))
    return found


def explained_setting(name: str, environ: Mapping[str, str] = os.environ) -> Explained:
    """One of them, with or without its prefix and in upper or lower case.

    Raises ConfigurationError if there is none.
    """
    variable = name.upper().removeprefix(PREFIX)
    for found in explained(environ):
        if found.name == variable.lower():
            return found
    raise ConfigurationError(_unknown(variable))


def _names() -> list[str]:
    return [name for name in Settings.__struct_fields__ if name not in _EXTRAS]


def _as_given(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def settings_from(
    environ: Mapping[str, str] = os.environ,
    *,
    namespace: str | None = None,
    several_inputs: bool = False,
) -> Settings:
    """Read and check all `MARKETSTATE_*` variables; an empty variable counts as not set.

    `namespace` takes precedence over `MARKETSTATE_REPLAY_NAMESPACE`. Only with `several_inputs` may
    the input stream be a pattern or a list. Raises ConfigurationError, which names the variable,
    its value and what is allowed.
    """
    given = {
        name.removeprefix(PREFIX): value.strip()
        for name, value in environ.items()
        if name.startswith(PREFIX) and value.strip()
    }
    values = {name.lower(): _parsed(name, text) for name, text in given.items()}
    try:
        check_url(values.get("redis_url", ""))
    except ValueError as error:
        raise ConfigurationError(f"{PREFIX}REDIS_URL {error}") from None
    _read_password(values, _credential(environ))
    values.setdefault("worker_id", _default_worker_id())
    if values.get("candle_interval", "1m") != "1m":
        # The default caches hold 1-minute candles.
        values.setdefault("backfill_keys", "none")
    values["replay_namespace"] = namespace or values.get("replay_namespace", "")
    if values["replay_namespace"]:
        values |= _of_a_replay(values["replay_namespace"])
    path = values.get("theta_file")
    theta = theta_from(f"{PREFIX}THETA_FILE", path) if path else merged_theta()
    settings = Settings(**values, theta=theta)
    _check_together(settings)
    if not several_inputs and _SEVERAL & set(settings.input_stream):
        raise ConfigurationError(
            f"{PREFIX}INPUT_STREAM is {settings.input_stream!r}, a pattern or a list: only "
            "`marketstate gather` reads several streams, and appends them to one; "
            "see worker/commands/README.md, Gathering"
        )
    return settings


def environment_with(**changes: str) -> dict[str, str]:
    """The environment for a child process: our own settings with `changes` applied."""
    return os.environ | as_variables(**changes)


def as_variables(**settings: str) -> dict[str, str]:
    """As they stand in an environment."""
    return {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}


def on_dumb_terminal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal, if there is one, cannot move its cursor."""
    return environ.get("TERM", "") in ("", "dumb")


def hand_over(environ: Mapping[str, str] = os.environ) -> tuple[int, Path]:
    """Check our settings and write them, without secrets, for the worker of the same systemd
    service; return its process id and the folder in which it answers. systemd gives a command for
    ExecReload= no credential.

    Raises ConfigurationError, also if systemd does not say which worker it is.
    """
    path, pid = _handed_over(environ), environ.get("MAINPID", "")
    if path is None or not pid.isdecimal():
        raise ConfigurationError(
            "systemd runs this command, when you use systemctl reload quantum-marketstate: it sets "
            "MAINPID and RUNTIME_DIRECTORY"
        )
    secret = {PREFIX + name.upper() for name in SECRETS}
    given = {
        name: value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in secret
    }
    settings_from(given)
    write_variables(path, given)
    return int(pid), path.parent


def settings_handed_over(environ: Mapping[str, str] = os.environ) -> Settings | None:
    """What another process has handed over, without secrets; None if there is nothing. Raises
    ConfigurationError.
    """
    path = _handed_over(environ)
    if path is None or not path.exists():
        return None
    return settings_from(variables_from(path))


def reload_folder(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where settings are handed over and answered to: the folder that systemd gives the service."""
    folder = environ.get("RUNTIME_DIRECTORY")
    return Path(folder) if folder else None


def _handed_over(environ: Mapping[str, str]) -> Path | None:
    folder = reload_folder(environ)
    return folder / "settings.json" if folder else None


def under_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """systemd sets JOURNAL_STREAM if standard error goes to the journal."""
    return "JOURNAL_STREAM" in environ


def replay_names(name: str) -> dict[str, str]:
    """The settings that name keys, for a replay that shares none with any other group.

    Nothing here matches `quantum:marketstate:*`, and a colon ends the name, so that one replay's
    prefix is never a prefix of another's.
    """
    prefix = f"quantum:replay:{name}:"
    return {
        "group": f"replay-{name}",
        "input_stream": f"{prefix}stream:market.klines",
        "output_prefix": f"{prefix}marketstate:",
        "output_stream": f"{prefix}stream:marketstate",
        "dead_stream": f"{prefix}stream:marketstate.dead",
    }


def _of_a_replay(name: str) -> dict[str, Any]:
    """A replay has its own keys, publishes everything that is fed, and keeps all of it. Caches
    hold today's candles and the wall clock knows nothing of the past, so neither is used.
    """
    keep_all = {"output_maxlen": 10**9, "dead_maxlen": 10**9}
    same_answer = {"start": "replay", "backfill_keys": "none", "rate_clock": "candle"}
    return replay_names(name) | keep_all | same_answer | {"source": "candles"}


def service_manager(environ: Mapping[str, str] = os.environ) -> tuple[str, float]:
    """systemd's notification socket (empty: none), and its watchdog interval in seconds."""
    watchdog_us = int(environ.get("WATCHDOG_USEC", "0"))
    is_watched = watchdog_us > 0 and environ.get("WATCHDOG_PID", str(os.getpid())) == str(
        os.getpid()
    )
    return environ.get("NOTIFY_SOCKET", ""), watchdog_us / 1e6 if is_watched else math.inf


def _parsed(variable: str, text: str) -> Any:
    """`variable` comes without its prefix, in its original spelling."""
    name = variable.lower()
    annotation = get_type_hints(Settings, include_extras=True).get(name)
    if annotation is None or name in _EXTRAS or variable != variable.upper():
        raise ConfigurationError(_unknown(variable))
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        # Surrogates are how Python represents bytes that are not UTF-8.
        raise ConfigurationError(f"{PREFIX}{variable} is not UTF-8 text")
    # A host with an @ is a misplaced URL, which may contain a password.
    shown = "***" if name in SECRETS or (name == "redis_host" and "@" in text) else repr(text)
    _refuse_comment(name, text, f"{PREFIX}{variable} is {shown}")
    if name == "log_level":
        text = text.upper()
    try:
        return msgspec.convert(text, annotation, strict=False)
    except msgspec.ValidationError:
        # Only annotated fields have limits, so only they can fail.
        allowed = annotation.__metadata__[0].description
        raise ConfigurationError(f"{PREFIX}{variable} is {shown}; allowed: {allowed}") from None


def _refuse_comment(name: str, text: str, found: str) -> None:
    """No setting needs such a text, except a password, which has another place then."""
    is_password = name == "redis_password"
    if not _COMMENT.search(text) and (is_password or not text.startswith("#")):
        return
    remedy = "a comment needs a line of its own, because behind a value it becomes part of it"
    if is_password:
        remedy += f"; if it is part of the password, use {PREFIX}REDIS_PASSWORD_FILE"
    raise ConfigurationError(f"{found}; {remedy}")


def _unknown(variable: str) -> str:
    if reason := _NEVER_READ.get(variable):
        return f"{PREFIX}{variable} is not a setting, and {reason}"
    near = difflib.get_close_matches(variable.lower(), _names(), n=1)
    hint = f"did you mean {PREFIX}{near[0].upper()}?" if near else "see deploy/README.md, Settings"
    return f"{PREFIX}{variable} is not a setting; {hint}"


def _read_password(values: dict[str, Any], credential: str) -> None:
    sources = [
        name
        for name, found in {
            f"{PREFIX}REDIS_URL": has_password(values.get("redis_url", "")),
            f"{PREFIX}REDIS_PASSWORD": values.get("redis_password"),
            f"{PREFIX}REDIS_PASSWORD_FILE": values.get("redis_password_file"),
            _CREDENTIAL: credential,
        }.items()
        if found
    ]
    if len(sources) > 1:
        raise ConfigurationError(f"the password is set by {' and '.join(sources)}; set it once")
    if path := values.get("redis_password_file"):
        values["redis_password"] = password_from(f"{PREFIX}REDIS_PASSWORD_FILE", path)
    elif credential:
        values["redis_password"] = credential


def _credential(environ: Mapping[str, str]) -> str:
    """The password from systemd's LoadCredential=; empty if there is none."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    return credential_from(_CREDENTIAL, Path(folder, "redis-password")) if folder else ""


def _default_worker_id() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:48] or "host"
    return f"{host}-{os.getpid()}"


def _check_intervals(settings: Settings) -> None:
    """`longer` can be used only if this does not fail."""
    if not settings.intervals:
        return
    names = _items(settings.intervals)
    found = f"{PREFIX}INTERVALS is {settings.intervals!r}"
    if settings.candle_interval not in names:
        raise ConfigurationError(
            f"{found}; it must contain {PREFIX}CANDLE_INTERVAL, which is {settings.candle_interval}"
        )
    lengths: dict[int, str] = {}
    for name in names:
        if name != settings.candle_interval:
            try:
                longer_interval(name, settings.candle_interval)
            except ValueError as error:
                raise ConfigurationError(
                    f"{found}, but {error}; candles of longer intervals are made of those of "
                    f"{PREFIX}CANDLE_INTERVAL"
                ) from None
        length_ms = interval_ms(name) or 0
        if length_ms in lengths:
            raise ConfigurationError(
                f"{found}; {lengths[length_ms]} and {name} are the same: name each interval once"
            )
        lengths[length_ms] = name


def _check_together(settings: Settings) -> None:
    """Checks that concern more than one field."""
    needed = minimum_length(settings.theta)
    if settings.window_size < needed:
        raise ConfigurationError(
            f"{PREFIX}WINDOW_SIZE is {settings.window_size}; "
            f"allowed: at least {needed}, the longest window of theta plus one"
        )
    _check_intervals(settings)
    longest = settings.each_interval[-1]
    if settings.retire_after_ms < 2 * longest.candle_interval_ms:
        raise ConfigurationError(
            f"{PREFIX}RETIRE_AFTER is {settings.retire_after!r}; allowed: at least two candle "
            f"intervals of {longest.candle_interval}, or never"
        )
    if settings.on_cluster and settings.partitions is None:
        raise ConfigurationError(
            f"{PREFIX}REDIS_URL names a Redis Cluster, so {PREFIX}PARTITIONS must be set: to 1 if "
            "one node can do all the work; see deploy/redis/README.md, Cluster"
        )
    if settings.on_cluster and settings.redis_db:
        raise ConfigurationError(
            f"{PREFIX}REDIS_DB is {settings.redis_db}; allowed: 0, the only one of a Redis Cluster"
        )
    symbols = _items(settings.symbols)
    in_other_notation = any(re.search(r"[\s;'\"{}]", symbol) for symbol in symbols)
    all_and_more = len(symbols) > 1 and "all" in map(str.lower, symbols)
    if not symbols or in_other_notation or all_and_more:
        raise ConfigurationError(
            f"{PREFIX}SYMBOLS is {settings.symbols!r}; allowed: comma-separated symbols, or 'all'"
        )
    for pattern in settings.backfill_patterns:
        if "{symbol}" not in pattern:
            raise ConfigurationError(
                f"{PREFIX}BACKFILL_KEYS contains {pattern!r}; each key must contain {{symbol}}"
            )
    keys = settings.each_partition()[0].keys
    streams = {
        f"{PREFIX}INPUT_STREAM": keys.input,
        f"{PREFIX}OUTPUT_STREAM": keys.output_stream,
        f"{PREFIX}DEAD_STREAM": keys.dead_stream,
    } | {
        f"{PREFIX}OUTPUT_STREAM of {each.candle_interval}": each.each_partition()[
            0
        ].keys.output_stream
        for each in settings.longer
    }
    if len(set(streams.values())) < len(streams):
        raise ConfigurationError(
            f"{', '.join(streams)} must differ; found {', '.join(streams.values())}"
        )
    for key in (*streams.values(), keys.internal_prefix):
        if key.startswith(settings.output_prefix):
            raise ConfigurationError(
                f"{PREFIX}OUTPUT_PREFIX is {settings.output_prefix!r}, but the key {key!r} starts "
                "with it too; choose a prefix that only the symbols' hashes have"
            )
    if not settings.output_prefix.endswith(":"):
        raise ConfigurationError(
            f"{PREFIX}OUTPUT_PREFIX is {settings.output_prefix!r}; allowed: a prefix that ends in "
            f"a colon, so that the records at {keys.record('SYMBOL')!r} do not start with "
            "it too"
        )


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _masked(name: str, value: Any) -> str:
    if value in (None, ""):
        return "-"
    if name == "redis_url":
        return masked_url(value)
    return "***" if name in SECRETS else str(value)
