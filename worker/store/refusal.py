"""Why Redis cannot be used: each kind of error, and how it is reported."""

import re
from typing import Final, NamedTuple

import redis
from redis import exceptions

from marketstate.worker.errors import RolledBack


class WritableReplica(redis.ReadOnlyError):
    """Raised by ourselves: such a Redis would accept all writes."""


class Refusal(NamedTuple):
    """A kind of error. `words` follow "Redis at HOST:PORT"; RIGHTS also need `user`, the `call`
    that was refused, and `who` has the right.
    """

    state: str
    """The state of Redis that causes it. While it stays the same, it is reported once."""
    passes: bool
    """Whether waiting and connecting again can help."""
    words: str

    @property
    def answers(self) -> bool:
        """Redis is there: it has answered with a refusal."""
        return self.state != AWAY


AWAY: Final = "away"

_SILENT: Final = Refusal(
    AWAY,
    True,
    "does not answer ({reason}); check that it runs, and MARKETSTATE_REDIS_HOST and _PORT or "
    "MARKETSTATE_REDIS_URL",
)
_CLOSED: Final = Refusal(
    AWAY,
    True,
    "closed the connection ({reason}): it ended or restarted, or CLIENT KILL, one of its limits "
    "(client-output-buffer-limit, timeout) or a proxy in between cut the connection, or it expects "
    "TLS (rediss://); Redis's log says which",
)
_LOADING: Final = Refusal("loading", True, "is still loading its data ({reason}); try again later")
_BUSY: Final = Refusal(
    "busy", True, "is busy with a script ({reason}); if it does not end by itself: SCRIPT KILL"
)
_FULL: Final = Refusal(
    "full", True, "is full and refuses writes ({reason}); raise its maxmemory, or free memory"
)
_UNSAVED: Final = Refusal(
    "cannot save",
    True,
    "cannot save its data and refuses writes ({reason}); its log says why: a full disk?",
)
_READ_ONLY: Final = Refusal(
    "read-only", True, "is a read-only replica ({reason}); connect to its master"
)
_WRITABLE_REPLICA: Final = Refusal(
    "a writable replica",
    True,
    "is a writable replica ({reason}); connect to its master",
)
_MASTER_DOWN: Final = Refusal(
    "without a master", True, "is a replica that has lost its master ({reason})"
)
_TOO_FEW_REPLICAS: Final = Refusal(
    "too few replicas",
    True,
    "refuses writes because too few replicas are connected ({reason}); bring them back, or lower "
    "its min-replicas-to-write",
)
_TOO_MANY_CLIENTS: Final = Refusal(
    "at its limit of clients",
    True,
    "has no room for another client ({reason}); raise its maxclients, or see CLIENT LIST for who "
    "holds so many connections",
)
_MOVED: Final = Refusal(
    "another node's",
    True,
    "leaves these keys to another node of its cluster ({reason}); if this lasts, set "
    "MARKETSTATE_REDIS_URL to redis+cluster://HOST:PORT,HOST:PORT",
)
_CLUSTER_DOWN: Final = Refusal(
    "a cluster that is down",
    True,
    "is part of a cluster that does not serve these keys now ({reason}); CLUSTER INFO and CLUSTER "
    "NODES there say what is missing",
)
_CLUSTER: Final = Refusal(
    "a cluster",
    False,
    "is part of a cluster ({reason}); a group needs MARKETSTATE_PARTITIONS there, and "
    "redis+cluster://HOST:PORT,HOST:PORT as its MARKETSTATE_REDIS_URL",
)
_NO_CLUSTER: Final = Refusal(
    "no cluster",
    False,
    "is not part of a cluster ({reason}); use redis:// or rediss:// in MARKETSTATE_REDIS_URL",
)
_PASSWORD: Final = Refusal(
    "password refused",
    False,
    "refuses this user or password ({reason}); check MARKETSTATE_REDIS_USERNAME and "
    "MARKETSTATE_REDIS_PASSWORD or _PASSWORD_FILE",
)
RIGHTS: Final = Refusal(
    "rights are missing",
    False,
    "does not allow the user {user!r} {call} ({reason}); {who} of deploy/redis/users.acl has all "
    "rights that are needed, and ACL LOG there shows what was refused",
)
UNKNOWN_COMMAND: Final = Refusal(
    "a command is missing",
    False,
    "does not know a command that is needed ({reason}); was it renamed or disabled there "
    "(rename-command)?",
)
# Over in a moment without any action.
_MOMENTARY: Final = Refusal("momentary", True, "refuses a command: {reason}")
_OTHER: Final = Refusal("other", False, "refuses a command: {reason}")

# Detected by the worker itself, before it writes.
_OLDER_DATA: Final = Refusal("back at older data", True, "has older data than before ({reason})")

# Where redis-py has a class for an error code, it removes the code from the text. Subclasses come
# first.
_BY_CLASS: Final[tuple[tuple[type[Exception], Refusal], ...]] = (
    (RolledBack, _OLDER_DATA),
    (exceptions.BusyLoadingError, _LOADING),
    (exceptions.AuthenticationError, _PASSWORD),
    (exceptions.AuthorizationError, _PASSWORD),
    (exceptions.OutOfMemoryError, _FULL),
    (WritableReplica, _WRITABLE_REPLICA),
    (exceptions.ReadOnlyError, _READ_ONLY),
    (exceptions.NoPermissionError, RIGHTS),
    (exceptions.MasterDownError, _MASTER_DOWN),
    (exceptions.AskError, _MOVED),
    (exceptions.TryAgainError, _MOVED),
    (exceptions.ClusterDownError, _CLUSTER_DOWN),
    (exceptions.ClusterCrossSlotError, _CLUSTER),
    # Scripts were flushed between the loading of one and its call.
    (exceptions.NoScriptError, _MOMENTARY),
)
# Redis 6.2 wraps errors from inside a script in another text.
_BY_TEXT: Final = tuple(
    (re.compile(pattern), refusal)
    for pattern, refusal in (
        (r"\bLOADING\b", _LOADING),
        (r"\bBUSY\b", _BUSY),
        (r"\bOOM\b", _FULL),
        (r"\bMISCONF\b", _UNSAVED),
        (r"\bREADONLY\b", _READ_ONLY),
        (r"\bMASTERDOWN\b", _MASTER_DOWN),
        (r"\bNOREPLICAS\b", _TOO_FEW_REPLICAS),
        (r"\bUNBLOCKED\b", _MOMENTARY),
        (r"\bCLUSTERDOWN\b", _CLUSTER_DOWN),
        (r"\bCROSSSLOT\b", _CLUSTER),
        (r"cluster support disabled", _NO_CLUSTER),
        (r"\bNOPERM\b|ACL failure in script|user executing the script can't", RIGHTS),
        # Each server has its own name in it, or none.
        (r"(?i)\bunknown (\w+ )?command\b", UNKNOWN_COMMAND),
    )
)
_WAS_CLOSED: Final = re.compile(
    r"closed by server|while reading from|while writing to|reset by peer|Broken pipe"
)

# What does not belong to the message, or cannot be understood, and its replacement.
_ADDED: Final = (
    # Redis 7 and Valkey, after the text.
    (re.compile(r" script: \S+, on @?\S+:\d+\.?\s*\Z"), ""),
    # Redis 6.2, before it.
    (re.compile(r"^(?:ERR )?Error running script \(call to \S+\): @?user_script:\s*\d+: "), ""),
    # Both, for errors raised by Lua itself.
    (re.compile(r"^(?:ERR )?@?user_script:\s*\d+: -?"), ""),
    # MOVED and ASK, without the code.
    (
        re.compile(r"\A(?:Command # .* of pipeline caused error: )?([0-9]+) (\S+:[0-9]+)\Z"),
        r"slot \1 is at \2",
    ),
    (re.compile(r"<redis\.client\.Redis\(.*?host=([^,]+),port=(\d+).*?\)>\)>\)>"), r"\1:\2"),
)


def refusal_of(error: BaseException) -> Refusal:
    for kind, refusal in _BY_CLASS:
        if isinstance(error, kind):
            return refusal
    text = str(error)
    if isinstance(error, redis.ResponseError):
        return next((refusal for found, refusal in _BY_TEXT if found.search(text)), _OTHER)
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        if "max number of clients" in text:
            return _TOO_MANY_CLIENTS
        return _CLOSED if _WAS_CLOSED.search(text) else _SILENT
    return _OTHER


def is_transient(error: BaseException) -> bool:
    """Whether waiting and connecting again can help."""
    return refusal_of(error).passes


def refuses_for_now(error: BaseException) -> bool:
    """Whether Redis answers, and may accept the same command later."""
    refusal = refusal_of(error)
    return refusal.answers and refusal.passes


def reason(error: BaseException) -> str:
    """In one line, without what Redis adds about scripts, and redis-py about clients."""
    text = str(error)
    for added, instead in _ADDED:
        text = added.sub(instead, text)
    return " ".join(text.split()) or type(error).__name__
