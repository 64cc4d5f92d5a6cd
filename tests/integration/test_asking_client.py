"""One reply may be outstanding, and every command still gets its own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from worker.local.redis_server import EmbeddedRedis
from worker.settings import settings_from
from worker.store.asking_client import AskingClient
from worker.store.connection import open_client
from worker.store.scripts import GroupScript

QUESTION = "return 'the answer'"


@pytest.fixture
def asking(server: EmbeddedRedis) -> Iterator[AskingClient]:
    settings = settings_from({"MARKETSTATE_REDIS_PORT": str(server.port)})
    with open_client(settings, block_s=1) as client:
        client.script_load(QUESTION)
        yield client


def ask(client: AskingClient, hear: Callable[[Any], None]) -> None:
    client.ask(GroupScript(client, QUESTION, None), [], [], hear)


def test_an_answer_is_heard_before_the_reply_to_the_next_command(asking: AskingClient) -> None:
    heard: list[bytes] = []
    ask(asking, heard.append)
    assert heard == []
    assert asking.echo("one") == b"one"
    assert heard == [b"the answer"]
    assert asking.echo("two") == b"two"
    assert heard == [b"the answer"]


def test_an_answer_can_be_waited_for(asking: AskingClient) -> None:
    heard: list[bytes] = []
    ask(asking, heard.append)
    asking.hear()
    asking.hear()
    assert heard == [b"the answer"]


def test_an_answer_is_heard_before_another_question_is_asked(asking: AskingClient) -> None:
    heard: list[str] = []
    ask(asking, lambda _: heard.append("first"))
    ask(asking, lambda _: heard.append("second"))
    assert heard == ["first"]
    asking.hear()
    assert heard == ["first", "second"]


def test_a_next_command_that_is_refused_leaves_no_reply_behind(asking: AskingClient) -> None:
    heard: list[bytes] = []
    ask(asking, heard.append)
    with pytest.raises(redis.ResponseError, match="compiling script"):
        asking.eval("syntax error", 0)
    assert heard == [b"the answer"]
    assert asking.echo("one") == b"one"


def test_a_question_that_redis_refuses_is_dropped(asking: AskingClient) -> None:
    asking.script_flush()
    ask(asking, lambda _: pytest.fail("there is no answer"))
    assert asking.echo("one") == b"one"


def test_after_an_error_while_hearing_the_next_command_gets_its_own_reply(
    asking: AskingClient,
) -> None:
    def fail(_answer: object) -> None:
        raise LookupError

    ask(asking, fail)
    with pytest.raises(LookupError):
        asking.echo("one")
    assert asking.echo("two") == b"two"


def test_an_answer_is_not_expected_from_another_connection(asking: AskingClient) -> None:
    """It was lost with the one on which it was asked for."""
    ask(asking, lambda _: pytest.fail("there is no answer"))
    connection: Any = asking.connection
    connection.disconnect()
    assert asking.echo("one") == b"one"
