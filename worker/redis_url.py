"""`MARKETSTATE_REDIS_URL`: what it may contain, and how it is shown without secrets."""

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

SENTINEL_PORT: Final = 26_379
CLUSTER_PORT: Final = 6_379
_SENTINEL: Final = re.compile(
    r"(?P<scheme>rediss?)\+sentinel://(?P<user>[^@/]*@)?(?P<hosts>[^@/?]+)"
    r"/(?P<master>[^@/?]+)(?P<db>/[0-9]*)?(\?(?P<query>.*))?"
)
_CLUSTER: Final = re.compile(
    r"(?P<scheme>rediss?)\+cluster://(?P<user>[^@/]*@)?(?P<hosts>[^@/?]+)"
    r"(?P<db>/[0-9]*)?(\?(?P<query>.*))?"
)
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+)(?::([0-9]{1,5}))?")
_PARAMETERS: Final = ("db", "username", "password", "ssl_*")
_FOR_SENTINELS: Final = ("sentinel_username", "sentinel_password")
_UNREADABLE: Final = (
    "is not a valid URL; percent-encode special characters in the password, "
    "or use MARKETSTATE_REDIS_PASSWORD_FILE"
)
_NO_SENTINELS: Final = (
    "is not a valid Sentinel URL; expected redis+sentinel://HOST:26379,HOST:26379/MASTER/0"
)
_NO_NODES: Final = (
    "is not a valid cluster URL; expected redis+cluster://HOST:6379,HOST:6379,HOST:6379"
)
_OTHER_DB: Final = "names another database than 0, the only one that a cluster has"


class SentinelUrl(NamedTuple):
    """The parts of `redis+sentinel://user:password@host:26379,host:26379/master/0?ssl_...`."""

    hosts: list[tuple[str, int]]
    master: str
    """The master's name on the sentinels."""
    user: dict[str, str]
    """`username` and `password` for the sentinels, if they need them."""
    plain_url: str
    """How to connect to the master. Its address is replaced: it is that of the first sentinel."""


class ClusterUrl(NamedTuple):
    """The parts of `redis+cluster://user:password@host:6379,host:6379/?ssl_...`."""

    hosts: list[tuple[str, int]]
    """Some nodes, any of which can name the others."""
    plain_url: str
    """How to connect to a node. Its address is replaced: it is that of the first one named."""


def check_url(url: str) -> None:
    """Reject what redis-py would reject later, or accept and then misbehave with.

    Raises ValueError that says what is wrong, without anything that may be part of a password.
    """
    try:
        parts = urlsplit(url)
        _ = None if is_sentinel(url) or is_cluster(url) else parts.port
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        # A `/`, `?` or `#` in the password has split it.
        raise ValueError(_UNREADABLE)
    if sentinel := sentinel_url(url):
        check_url(sentinel.plain_url)
        return
    if cluster := cluster_url(url):
        check_url(cluster.plain_url)
        if any(db.strip("/0") for db in (parts.path, *parse_qs(parts.query).get("db", ()))):
            raise ValueError(_OTHER_DB)
        return
    if parts.scheme != "unix" and not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError(f"ends in {parts.path!r}; expected a database number, such as /0")
    for name in parse_qs(parts.query):
        if name not in _PARAMETERS and not name.startswith("ssl_"):
            raise ValueError(f"has the parameter {name!r}; allowed: {', '.join(_PARAMETERS)}")


def is_sentinel(url: str) -> bool:
    return re.match(r"rediss?\+sentinel://", url) is not None


def sentinel_url(url: str) -> SentinelUrl | None:
    """None if the URL is not a Sentinel URL. Raises ValueError for an invalid one."""
    if not is_sentinel(url):
        return None
    parts = _SENTINEL.fullmatch(url)
    if parts is None:
        raise ValueError(_NO_SENTINELS)
    hosts = parts["hosts"].split(",")
    pairs = parse_qsl(parts["query"] or "")
    query = urlencode([pair for pair in pairs if pair[0] not in _FOR_SENTINELS])
    return SentinelUrl(
        hosts=[_address(host, SENTINEL_PORT, _NO_SENTINELS) for host in hosts],
        master=parts["master"],
        user={
            name.removeprefix("sentinel_"): value for name, value in pairs if name in _FOR_SENTINELS
        },
        plain_url=f"{parts['scheme']}://{parts['user'] or ''}{hosts[0]}{parts['db'] or ''}"
        f"{'?' if query else ''}{query}",
    )


def is_cluster(url: str) -> bool:
    return re.match(r"rediss?\+cluster://", url) is not None


def cluster_url(url: str) -> ClusterUrl | None:
    """None if the URL is not a cluster URL. Raises ValueError for an invalid one."""
    if not is_cluster(url):
        return None
    parts = _CLUSTER.fullmatch(url)
    if parts is None:
        raise ValueError(_NO_NODES)
    hosts = parts["hosts"].split(",")
    query = f"?{parts['query']}" if parts["query"] else ""
    return ClusterUrl(
        hosts=[_address(host, CLUSTER_PORT, _NO_NODES) for host in hosts],
        plain_url=f"{parts['scheme']}://{parts['user'] or ''}{hosts[0]}{parts['db'] or ''}{query}",
    )


def _address(text: str, default_port: int, refusal: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found[2] or default_port) if found else 0
    if found is None or not 0 < port <= 65_535:
        raise ValueError(refusal)
    return found[1].strip("[]"), port


def has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def user_of(url: str) -> str:
    """The user name in it; empty if it has none."""
    parts = urlsplit(url)
    return unquote(parts.username or "") or parse_qs(parts.query).get("username", [""])[0]


def masked_url(url: str) -> str:
    """The URL with every password replaced by `***`."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if "@" in netloc:
        # A lone user name may be a password without its colon.
        user = f"{parts.username}:" if parts.password is not None else ""
        netloc = f"{user}***@{netloc.rpartition('@')[2]}"
    query = "&".join(
        f"{name}={'***' if 'password' in name else values[0]}"
        for name, values in parse_qs(parts.query).items()
    )
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"
