"""The users of deploy/redis/users.acl."""

from pathlib import Path
from typing import Final

import redis

USERS: Final = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl"


def users(version: str) -> dict[str, str]:
    """Their rules; for 6.2, with the change that deploy/redis/README.md describes."""
    text = USERS.read_text()
    if version.startswith("6."):
        text = text.replace("%R~", "~")
    return {line.split()[1]: line.split(maxsplit=2)[2] for line in text.splitlines()}


def set_user(client: redis.Redis, name: str, password: str) -> None:
    rules = users(str(client.info("server")["redis_version"]))[name]
    client.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", name, *rules.split(), f">{password}"
    )
