"""The connection to Redis: how it is opened, and how to retry until it works again.

Only this module uses tenacity.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import redis
import tenacity
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import ClusterDownError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from marketstate.worker.errors import ConfigurationError, RedisUnusable
from marketstate.worker.redis_url import (
    ClusterUrl,
    SentinelUrl,
    cluster_url,
    masked_url,
    sentinel_url,
)
from marketstate.worker.settings import Settings
from marketstate.worker.stop import Stop
from marketstate.worker.store.asking_client import AskingClient
from marketstate.worker.store.cluster import Masters, pool_at
from marketstate.worker.store.other_keys import OnAnyNode, OnOurServer
from marketstate.worker.store.refusal import AWAY, WritableReplica, is_transient, reason, refusal_of
from marketstate.worker.store.refused_call import call_in_words
from marketstate.worker.store.server_version import server_version

Client = redis.Redis
T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 5.0
REPLY_TIMEOUT_S: Final = 5.0
# Of those who know where the master is, another may answer. Caches are not waited for.
_IMPATIENT: Final = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}
FIRST_WAIT_S: Final = 0.1
LONGEST_WAIT_S: Final = 5.0
OLDEST_VERSION: Final = (6, 2)
REMOVES_ALL: Final = "its next resync removes all that was written to it"


def open_client(settings: Settings, *, block_s: float) -> AskingClient:
    """A client that never retries a command automatically and never reconnects silently.

    A command whose reply is lost may have been executed, so it is not repeated. And a Redis that
    was away may be back with older data, so callers that keep state in memory must learn about a
    new connection. A pool would silently reopen a socket that was closed between two commands; so
    there is a single connection, which fails at its next use. `block_s` is the longest time that a
    read may block. Raises redis.ConnectionError immediately if nothing answers.
    """
    pool = connection_pool(settings, block_s=block_s)
    try:
        return AskingClient(pool)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        if settings.on_cluster and refusal_of(error).state == AWAY:
            # Unlike a wrong address, this passes: another node has named the one that is away.
            text, node = reason(error), "{host}:{port}".format(**pool.connection_kwargs)
            raise ClusterDownError(text if node in text else f"{node}: {text}") from error
        raise


def connection_pool(settings: Settings, *, block_s: float) -> redis.ConnectionPool:
    """Where and how to connect. On a cluster, its nodes are asked now for the master of the keys;
    otherwise this opens no connection yet.
    """
    url = settings.redis_url
    try:
        options = connection_options(settings, block_s=block_s)
        sentinel, nodes = sentinel_url(url), cluster_url(url)
        pool = _pool_of_master(sentinel, options) if sentinel else redis.ConnectionPool(**options)
        pool.make_connection()
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"MARKETSTATE_REDIS_URL cannot be used: {error}") from None
    return _pool_of_owner(nodes, options, settings.keys.input) if nodes else pool


def connection_options(settings: Settings, *, block_s: float) -> dict[str, Any]:
    """For redis-py: how to connect, and where if there is one address."""
    options: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        # With a socket timeout below the block time, every quiet minute would be an error.
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
        return options | {"host": settings.redis_host, "port": settings.redis_port}
    given = {name: value for name, value in options.items() if value is not None}
    if urlsplit(settings.redis_url).scheme == "unix":
        given.pop("socket_keepalive")
    several = sentinel_url(settings.redis_url) or cluster_url(settings.redis_url)
    plain_url = several.plain_url if several else settings.redis_url
    given.update(parse_url(plain_url))  # type: ignore[no-untyped-call]  # the URL takes precedence
    return given


def _pool_of_master(sentinel: SentinelUrl, options: dict[str, Any]) -> redis.ConnectionPool:
    """Each connection first asks the sentinels for the master. The sentinels use TLS if the
    master does.
    """
    for_master = {name: value for name, value in options.items() if name not in ("host", "port")}
    for_master["ssl"] = for_master.pop("connection_class", None) is redis.SSLConnection
    its_own = ("db", "username", "password", "client_name")
    for_sentinels = {name: value for name, value in for_master.items() if name not in its_own}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        sentinel.hosts, sentinel_kwargs=for_sentinels | sentinel.user | _IMPATIENT
    )
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        sentinel.master, sentinels, **for_master
    )


def _pool_of_owner(url: ClusterUrl, options: dict[str, Any], key: str) -> redis.ConnectionPool:
    """The nodes are asked each time: they agree on another master when one fails or hands over."""
    return pool_at(Masters(url.hosts, options | _IMPATIENT).of(key), options)


def other_keys(settings: Settings, client: Client) -> OnOurServer | OnAnyNode:
    """To read keys that are not of our group; `client` is that of our own."""
    nodes = cluster_url(settings.redis_url)
    if nodes is None:
        return OnOurServer(client)
    return OnAnyNode(nodes.hosts, connection_options(settings, block_s=0) | _IMPATIENT)


def address(settings: Settings) -> str:
    """Where we expect Redis, without secrets."""
    if settings.redis_url:
        return masked_url(settings.redis_url)
    return f"{settings.redis_host}:{settings.redis_port} db {settings.redis_db}"


def server_info(client: Client) -> dict[str, Any]:
    """The reply to `INFO`. Raises RedisUnusable if the server is too old for the worker."""
    info: dict[str, Any] = client.info()
    server = server_version(info)
    if server.numbers < OLDEST_VERSION:
        needed = ".".join(map(str, OLDEST_VERSION))
        raise RedisUnusable(f"the server is {server}; Redis {needed} or newer is needed")
    return info


def refuse_writable_replica(client: Client) -> None:
    """Raises WritableReplica. One that is read-only refuses writes by itself."""
    info: dict[str, Any] = client.info("replication")
    if info.get("role") == "slave" and not info.get("slave_read_only", 1):
        raise WritableReplica(REMOVES_ALL)


NO_USER: Final = "no user"
"""The account that is needed for what no user of deploy/redis/users.acl may do."""


def account(settings: Settings) -> str:
    """The user of deploy/redis/users.acl that may do what a command with these settings does."""
    return "marketstate-replay" if settings.replay_namespace else "marketstate"


def unusable(error: Exception, settings: Settings, account_needed: str = "") -> RedisUnusable:
    """`error` as one line for the user. `account_needed`: if it is not that of `account`."""
    needed = account_needed or account(settings)
    words = refusal_of(error).words.format(
        reason=reason(error),
        user=settings.redis_user,
        call=call_in_words(error) or "something that is needed",
        who=needed if needed == NO_USER else f"the user {needed!r}",
    )
    return RedisUnusable(f"Redis at {address(settings)} {words}{_of_tls(error, settings)}")


def _of_tls(error: Exception, settings: Settings) -> str:
    """A server without TLS waits for the rest of a command that is none."""
    has_tls = urlsplit(settings.redis_url or "").scheme.startswith("rediss")
    if has_tls and isinstance(error, redis.TimeoutError):
        return "; a server without TLS does not answer to rediss://"
    return ""


@contextmanager
def reporting(settings: Settings, account_needed: str = "") -> Iterator[None]:
    """Raises RedisUnusable for what the Redis of these settings refuses inside."""
    try:
        yield
    except redis.RedisError as error:
        raise unusable(error, settings, account_needed) from error


def retry_transient(
    action: Callable[[], T],
    stop: Stop,
    on_error: Callable[[BaseException], None],
    transient: Callable[[BaseException], bool] = is_transient,
    longest_wait_s: float = LONGEST_WAIT_S,
) -> T:
    """Run `action`, and retry it with growing waits while its errors are `transient`.

    `on_error` is called with each of them.
    """

    def tell(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            on_error(error)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(transient),
        wait=tenacity.wait_exponential(FIRST_WAIT_S, longest_wait_s) + tenacity.wait_random(0, 0.1),
        after=tell,
        sleep=stop.sleep,
        stop=lambda _state: stop.requested,
        reraise=True,
    )
    return retrying(action)
