"""Replies may be outstanding, and every command still gets its own."""

import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import NoScriptError

from marketstate.worker.local.redis_server import EmbeddedRedis
from marketstate.worker.settings import settings_from
from marketstate.worker.store.asking_client import AskingClient, Reply
from marketstate.worker.store.connection import open_client
from marketstate.worker.store.scripts import GroupScript

QUESTION = "return 'answer ' .. ARGV[1]"


@pytest.fixture
def asking(server: EmbeddedRedis) -> Iterator[AskingClient]:
    settings = settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})
    with open_client(settings, block_s=1) as client:
        client.script_load(QUESTION)
        yield client


def ask(client: AskingClient, about: str = "one") -> Reply:
    return client.ask(GroupScript(client, QUESTION, None), [], [about])


def test_a_command_gets_its_own_reply_and_not_the_answer_before_it(asking: AskingClient) -> None:
    answer = ask(asking)
    assert asking.echo("two") == b"two"
    assert answer.read() == b"answer one"
    assert asking.echo("three") == b"three"
    assert answer.read() == b"answer one"


def test_words_of_every_kind_and_size_arrive_as_they_are(asking: AskingClient) -> None:
    """redis-py does not pack what is asked."""
    script = GroupScript(asking, "return {KEYS[1], unpack(ARGV)}", None)
    asking.script_load(script.script)
    words: list[Any] = ["σ", b"\r\n\x00$3", 7, "", "x" * 100_000]
    reply = asking.ask(script, ["key"], words).read()
    assert reply == [b"key", "σ".encode(), b"\r\n\x00$3", b"7", b"", b"x" * 100_000]


def test_answers_can_be_read_in_any_order(asking: AskingClient) -> None:
    one, two, three = [ask(asking, about) for about in ("one", "two", "three")]
    assert two.read() == b"answer two"
    assert three.read() == b"answer three"
    assert one.read() == b"answer one"


def test_a_next_command_that_is_refused_leaves_no_reply_behind(asking: AskingClient) -> None:
    answer = ask(asking)
    with pytest.raises(redis.ResponseError, match="compiling script"):
        asking.eval("syntax error", 0)
    assert asking.echo("one") == b"one"
    assert answer.read() == b"answer one"


def test_a_question_that_redis_refuses_fails_where_its_answer_is_read(
    asking: AskingClient,
) -> None:
    asking.script_flush()
    answer = ask(asking)
    assert asking.echo("one") == b"one"
    for _ in range(2):
        with pytest.raises(NoScriptError) as raised:
            answer.read()
    assert vars(raised.value)["call"][0] == "EVALSHA"


def test_an_answer_is_not_expected_from_another_connection(asking: AskingClient) -> None:
    """It was lost with the one on which it was asked for."""
    answer = ask(asking)
    connection: Any = asking.connection
    connection.disconnect()
    assert asking.echo("one") == b"one"
    with pytest.raises(redis.ConnectionError, match="the connection was lost"):
        answer.read()


def test_an_answer_is_lost_with_a_connection_that_takes_no_more_commands(
    asking: AskingClient,
) -> None:
    answer = ask(asking)
    connection: Any = asking.connection
    connection._sock.shutdown(socket.SHUT_RDWR)
    with pytest.raises(redis.ConnectionError):
        asking.echo("one")
    with pytest.raises(redis.ConnectionError, match="the connection was lost"):
        answer.read()


class Interrupted(BaseException):
    pass


def interrupt(_signum: int, _frame: object) -> None:
    raise Interrupted


@pytest.fixture
def interrupted_soon() -> Iterator[None]:
    """By a signal, while a reply is waited for."""
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("interrupted_soon")
def test_an_answer_that_was_not_waited_for_is_lost_and_not_that_of_the_next_command(
    asking: AskingClient, client: redis.Redis
) -> None:
    client.client_pause(500)
    first, second = ask(asking, "one"), ask(asking, "two")
    with pytest.raises(Interrupted):
        first.read()
    assert asking.echo("three") == b"three"
    for answer in (first, second):
        with pytest.raises(redis.ConnectionError, match="the connection was lost"):
            answer.read()
