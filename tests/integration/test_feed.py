"""worker/lua/feed.lua: a batch is fed once, whatever happens, and never in part."""

import contextlib
from typing import Any

import pytest
import redis

from marketstate.worker.commands.replay.sources import packed
from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.store.scripts import Scripts


def test_a_batch_whose_reply_was_lost_is_sent_again_and_fed_once(client: redis.Redis) -> None:
    """G2: and one from elsewhere, or one that Redis refuses, changes nothing."""
    feed_batch = Scripts(client).feed
    batch = packed([b"5-0", b"a", b"\x00"]) + packed([b"6-0", b"a", b"", b"a", b"b"])
    keys = ["stream", "position"]
    assert feed_batch(keys=keys, args=["", "2:x", batch]) == [b"fed"]
    assert feed_batch(keys=keys, args=["", "2:x", batch]) == [b"fed"]
    assert feed_batch(keys=keys, args=["1:y", "3:z", batch]) == [b"elsewhere", b"2:x"]
    refused: Any = feed_batch(keys=keys, args=["2:x", "4:z", batch])
    assert refused == [b"not above", b"5-0", b"6-0"]
    assert (client.xlen("stream"), client.get("position")) == (2, b"2:x")
    assert client.xrange("stream") == [(b"5-0", {b"a": b"\x00"}), (b"6-0", {b"a": b"b"})]


GREATEST = 2**64 - 1


@pytest.mark.parametrize(
    ("entry_id", "answer"),
    [
        (b"18446744073709551616-0", b"not an id"),
        (b"99999999999999999999-0", b"not an id"),
        (b"9-18446744073709551616", b"not an id"),
        (b"9-0\n", b"not an id"),
        (b"9", b"not an id"),
        (b"09-0", b"not an id"),
        (b"9-*", b"not an id"),
        (b"", b"not an id"),
        (b"6-0", b"not above"),
        (b"5-9", b"not above"),
        (b"0-0", b"not above"),
    ],
)
@pytest.mark.parametrize("before", ["", "1:x"])
def test_a_batch_with_an_id_that_cannot_be_kept_adds_nothing(
    before: str, entry_id: bytes, answer: bytes, client: redis.Redis
) -> None:
    """G5: not even the entries in front of it, and the position stays where it was."""
    if before:
        client.set("position", before)
    good = packed([b"6-0", b"a", b"b"])
    batch = good + packed([entry_id, b"a", b"b"]) + packed([b"9-9", b"a", b"b"])
    fed_batch = Scripts(client).feed
    reply: Any = fed_batch(keys=["stream", "position"], args=[before, "4:y", batch])
    assert reply[:2] == [answer, entry_id]
    assert (client.exists("stream"), client.get("position")) == (0, before.encode() or None)
    assert fed_batch(keys=["stream", "position"], args=[before, "2:x", good]) == [b"fed"]


@pytest.mark.parametrize(
    ("last", "taken"),
    [
        (f"{GREATEST - 1}-{GREATEST}", True),
        (f"{GREATEST}-0", False),
        (f"{GREATEST}-{GREATEST - 1}", False),
        (f"{GREATEST}-{GREATEST}", False),
    ],
)
def test_a_stream_at_its_greatest_id_takes_no_batch_in_part(
    last: str, taken: bool, client: redis.Redis
) -> None:
    """G5: Redis would take the first of these two entries, and refuse the second."""
    client.xadd("stream", {"a": "b"}, id=last)
    batch = packed([b"*", b"a", b"b"]) * 2
    reply: Any = Scripts(client).feed(keys=["stream", "position"], args=["", "2:x", batch])
    assert (reply[0] == b"fed", client.xlen("stream")) == (taken, 3 if taken else 1)
    assert client.get("position") == (b"2:x" if taken else None)


@pytest.mark.parametrize("before", ["", "1:x"])
@pytest.mark.parametrize("lacking", ["-set", "-xadd"])
def test_a_batch_that_redis_refuses_leaves_the_position_where_it_was(
    before: str, lacking: str, server: EmbeddedRedis, client: redis.Redis
) -> None:
    """G5: a right that is missing is noticed after the checks, at the first or the second write."""
    if before:
        client.set("position", before)
    batch = packed([b"*", b"a", b"b"]) * 2
    acl: Any = client
    acl.execute_command("ACL", "SETUSER", "feeder", "on", "nopass", "~*", "+@all", lacking)
    with (
        redis.Redis(port=server.port, username="feeder", password="any", protocol=2) as user,
        contextlib.suppress(redis.ResponseError),
    ):
        reply: Any = Scripts(user).feed(keys=["stream", "position"], args=[before, "2:x", batch])
        assert reply[0] == b"refused"
    client.acl_deluser("feeder")
    assert (client.exists("stream"), client.get("position")) == (0, before.encode() or None)
