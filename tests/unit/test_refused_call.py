"""What Redis was asked when it refused, in words."""

import pytest
import redis

from marketstate.worker.redis_url import user_of
from marketstate.worker.store.refused_call import call_in_words


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("XADD", "a", "*", "name", "value"), "XADD on a"),
        (("XINFO GROUPS", b"a"), "XINFO GROUPS on a"),
        (("XGROUP CREATE", "a", "group", "0"), "XGROUP CREATE on a"),
        (("SCRIPT LOAD", "return 1"), "SCRIPT LOAD"),
        (("SCRIPT", "LOAD", "return 1"), "SCRIPT LOAD"),
        (("TIME",), "TIME"),
        (("EVALSHA", "f00", 2, "a", "b", "c"), "EVALSHA on a (and 1 other keys)"),
        (("EVALSHA", "f00", 0, "c"), "EVALSHA"),
        (("XREAD", b"BLOCK", "9", b"STREAMS", "a", "$"), "XREAD on a"),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "a", "b", ">", ">"), "on a (and 1 other"),
    ],
)
def test_a_command_is_named_with_its_first_key(call: tuple[object, ...], words: str) -> None:
    error = redis.ResponseError("NOPERM")
    vars(error)["call"] = call
    found = call_in_words(error)
    assert found == words or words in found.removeprefix("XREADGROUP ")


def test_the_command_of_a_pipeline_is_taken_from_what_redis_py_says() -> None:
    text = "Command # 3 (HGETALL a) of pipeline caused error: no permissions"
    assert call_in_words(redis.ResponseError(text)) == "HGETALL on a"
    assert call_in_words(redis.ResponseError("no permissions")) == ""


def test_the_user_of_a_url_is_the_one_that_logs_in() -> None:
    urls = {
        "redis://me:secret@there": "me",
        "redis://m%40e:secret@there": "m@e",
        "redis://:secret@there": "",
        "redis://there?username=me": "me",
        "redis+sentinel://me:secret@one,two/master": "me",
    }
    assert {url: user_of(url) for url in urls} == urls
