"""The connection to Redis: how it is opened, which of its errors pass by themselves, and waiting.

tenacity is used here and nowhere else.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis
import tenacity
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from worker.errors import ConfigurationError, RedisUnusable
from worker.redis_url import SentinelUrl, masked_url, sentinel_url
from worker.settings import Settings
from worker.stop import Stop
from worker.store.asking_client import AskingClient

Client = redis.Redis
T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 5.0
SENTINEL_TIMEOUT_S: Final = 2.0
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
OLDEST_VERSION: Final = (6, 2)

# Error replies with which Redis refuses for a while what it will do again. Redis 6.2 wraps those
# from inside a script in a text of its own.
_PASSING_REPLIES: Final = re.compile(
    r"\b(OOM|MISCONF|READONLY|LOADING|BUSY|MASTERDOWN|NOREPLICAS|UNBLOCKED)\b"
)


def open_client(settings: Settings, *, block_s: float) -> AskingClient:
    """A client that never repeats a command by itself, and never connects again unnoticed.

    A command whose reply is lost may have been carried out, so it is not repeated. And a Redis
    that was away may be back with older data: whoever remembers anything of it must hear of the
    new connection. A pool would reopen a socket that was closed between two commands without a
    word, so there is one connection, which fails on its next use. `block_s` is the longest time a
    read may block. Raises redis.ConnectionError at once where nobody answers.
    """
    return AskingClient(connection_pool(settings, block_s=block_s))


def connection_pool(settings: Settings, *, block_s: float) -> redis.ConnectionPool:
    """Where and how to connect; nothing is connected yet."""
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        # A socket timeout below a block time would turn every quiet minute into an error.
        "socket_timeout": block_s + REPLY_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "protocol": 2,
        "client_name": f"marketstate-{settings.worker_id}",
        "db": settings.redis_db,
        "username": settings.redis_username,
        "password": settings.redis_password,
    }
    if not settings.redis_url:
        return redis.ConnectionPool(host=settings.redis_host, port=settings.redis_port, **options)
    given = {name: value for name, value in options.items() if value is not None}
    if urlsplit(settings.redis_url).scheme == "unix":
        given.pop("socket_keepalive")
    sentinel = sentinel_url(settings.redis_url)
    try:
        # What is in the URL wins.
        if sentinel:
            from_url: Any = parse_url(sentinel.plain_url)  # type: ignore[no-untyped-call]
            pool = _pool_of_master(sentinel, given | from_url)
        else:
            pool = redis.ConnectionPool.from_url(settings.redis_url, **given)
        pool.make_connection()
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"MARKETSTATE_REDIS_URL cannot be used: {error}") from None
    return pool


def _pool_of_master(sentinel: SentinelUrl, options: dict[str, Any]) -> redis.ConnectionPool:
    """Each connection asks the sentinels first where the master is. They are spoken to like the
    master: with TLS or without.
    """
    for_master = {name: value for name, value in options.items() if name not in ("host", "port")}
    for_master["ssl"] = for_master.pop("connection_class", None) is redis.SSLConnection
    its_own = ("db", "username", "password", "client_name")
    for_sentinels = {name: value for name, value in for_master.items() if name not in its_own}
    timeouts = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), SENTINEL_TIMEOUT_S)
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        sentinel.hosts, sentinel_kwargs=for_sentinels | sentinel.user | timeouts
    )
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        sentinel.master, sentinels, **for_master
    )


def address(settings: Settings) -> str:
    """Where Redis is looked for, without secrets."""
    if settings.redis_url:
        return masked_url(settings.redis_url)
    return f"{settings.redis_host}:{settings.redis_port} db {settings.redis_db}"


def server_info(client: Client) -> dict[str, Any]:
    """What `INFO` says. Raises RedisUnusable for a server older than the worker can use."""
    info: dict[str, Any] = client.info()
    version = str(info.get("redis_version", "0.0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        needed = ".".join(map(str, OLDEST_VERSION))
        raise RedisUnusable(f"Redis is version {version}; {needed} or newer is needed")
    return info


def passes_by_itself(error: BaseException) -> bool:
    """Whether waiting and connecting again can mend `error`."""
    if isinstance(error, (redis.AuthenticationError, redis.exceptions.AuthorizationError)):
        return False
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return True
    # redis-py cuts the code off the text where it has a class for it. A script can be unknown when
    # scripts are flushed between its loading and its call.
    cut = (redis.exceptions.OutOfMemoryError, redis.ReadOnlyError, redis.exceptions.NoScriptError)
    if isinstance(error, cut):
        return True
    return isinstance(error, redis.ResponseError) and bool(_PASSING_REPLIES.search(str(error)))


def unusable(error: Exception, settings: Settings) -> RedisUnusable:
    """`error` as one line for the user."""
    where = f"Redis at {address(settings)}"
    if isinstance(error, (redis.AuthenticationError, redis.exceptions.AuthorizationError)):
        return RedisUnusable(
            f"{where} refuses this user or password ({reason(error)}); check "
            "MARKETSTATE_REDIS_USERNAME and MARKETSTATE_REDIS_PASSWORD or _PASSWORD_FILE"
        )
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return RedisUnusable(
            f"{where} does not answer ({reason(error)}); check that it runs, and "
            "MARKETSTATE_REDIS_HOST and _PORT or MARKETSTATE_REDIS_URL"
        )
    return RedisUnusable(f"{where} refuses a command: {reason(error)}")


def until_it_passes(action: Callable[[], T], stop: Stop) -> T:
    """Do `action`, again and again with growing waits while its errors pass by themselves."""
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes_by_itself),
        wait=tenacity.wait_exponential(FIRST_WAIT_S, LONGEST_WAIT_S) + tenacity.wait_random(0, 0.1),
        sleep=stop.sleep,
        stop=lambda _state: stop.requested,
        reraise=True,
    )
    return retrying(action)


def reason(error: Exception) -> str:
    """In one line, without what Redis adds of the inside of a script, and redis-py of clients."""
    text = re.sub(r" script: [0-9a-f]{40}, on @user_script:\d+\.?$", "", str(error))
    text = re.sub(r"<redis\.client\.Redis\(.*?host=([^,]+),port=(\d+).*?\)>\)>\)>", r"\1:\2", text)
    return " ".join(text.split()) or type(error).__name__
