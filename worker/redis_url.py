"""`MARKETSTATE_REDIS_URL`: what may be in it, and how it is shown without its secrets."""

import re
from typing import Final
from urllib.parse import parse_qs, urlsplit

_PARAMETERS: Final = ("db", "username", "password", "ssl_*")
_UNREADABLE: Final = (
    "is no URL that can be used; special characters in the password must be percent-encoded, "
    "or use MARKETSTATE_REDIS_PASSWORD_FILE"
)


def check_url(url: str) -> None:
    """Refuse what redis-py would refuse later, or take and then behave differently by.

    Raises ValueError with what is wrong, and without anything that may be part of a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        # A `/`, `?` or `#` in the password has cut it in two.
        raise ValueError(_UNREADABLE)
    if parts.scheme != "unix" and not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError(f"ends in {parts.path!r}; expected the number of a database, such as /0")
    for name in parse_qs(parts.query):
        if name not in _PARAMETERS and not name.startswith("ssl_"):
            raise ValueError(f"has the parameter {name!r}; allowed: {', '.join(_PARAMETERS)}")


def has_password(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def masked_url(url: str) -> str:
    """The URL with `***` for every password in it."""
    parts = urlsplit(url)
    netloc = parts.netloc
    if "@" in netloc:
        # A name alone may be a password whose colon was forgotten.
        user = f"{parts.username}:" if parts.password is not None else ""
        netloc = f"{user}***@{netloc.rpartition('@')[2]}"
    query = "&".join(
        f"{name}={'***' if 'password' in name else values[0]}"
        for name, values in parse_qs(parts.query).items()
    )
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"
