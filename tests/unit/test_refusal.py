"""The errors of Redis in words, as Redis 6.2, 7 or Valkey send them and redis-py reads them."""

from types import SimpleNamespace
from typing import Any

import pytest
import redis
from msgspec.structs import replace
from redis import exceptions

from marketstate.core.theta import merged_theta
from marketstate.worker.errors import RedisUnusable
from marketstate.worker.settings import Settings
from marketstate.worker.store import connection
from marketstate.worker.store.outage import Outage
from marketstate.worker.store.refusal import is_transient, reason, refusal_of, refuses_for_now

SHA = "f312507fea71c5e5daa2959fc8d604900f299304"
OF_7 = f" script: {SHA}, on @user_script:12."
OF_6 = f"Error running script (call to f_{SHA}): @user_script:12: "
FULL = "command not allowed when used memory > 'maxmemory'."


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (f"WRONGTYPE not a list{OF_7}", "WRONGTYPE not a list"),
        (f"WRONGTYPE not a list{OF_7} ", "WRONGTYPE not a list"),
        (f"WRONGTYPE not a list script: {SHA}, on user_script:12.", "WRONGTYPE not a list"),
        (f"{OF_6}WRONGTYPE not a list", "WRONGTYPE not a list"),
        (f"ERR {OF_6}WRONGTYPE not a list", "WRONGTYPE not a list"),
        (f"{OF_6}@user_script: 12: -OOM {FULL}", f"OOM {FULL}"),
        (f"{OF_6}@user_script: 12: Unknown Redis command", "Unknown Redis command"),
        (f"{OF_6}user_script:12: entry 3", "entry 3"),
        (f"user_script:12: entry 3{OF_7}", "entry 3"),
        ("a script: that is, on time", "a script: that is, on time"),
        ("two\nlines", "two lines"),
        ("", "ResponseError"),
    ],
)
def test_what_redis_adds_of_the_inside_of_a_script_is_left_out(told: str, expected: str) -> None:
    assert reason(redis.ResponseError(told)) == expected


CONNECTION, TIMEOUT, RESPONSE = redis.ConnectionError, redis.TimeoutError, redis.ResponseError
PIPED = exceptions.MovedError("1 x:7000")
PIPED.args = ("Command # 1 (TYPE a) of pipeline caused error: 1 x:7000",)  # as redis-py does it
REFUSALS = [
    (CONNECTION("Error 111 connecting to x:6379. Connection refused."), "away", "check that it"),
    (CONNECTION("Error -2 connecting to x:6379. Name not known."), "away", "check that it runs"),
    (TIMEOUT("Timeout connecting to server"), "away", "check that it runs"),
    (TIMEOUT("Timeout reading from socket"), "away", "check that it runs"),
    (CONNECTION("Connection closed by server."), "away", "client-output-buffer-limit"),
    (CONNECTION("Error while reading from x:6379 : (104, '')"), "away", "a proxy in between"),
    (CONNECTION("Error 32 while writing to socket. Broken pipe."), "away", "CLIENT KILL"),
    (exceptions.BusyLoadingError("Redis is loading"), "loading", "still loading its data"),
    (RESPONSE("LOADING Redis is loading"), "loading", "still loading its data"),
    (RESPONSE("BUSY Redis is busy running a script."), "busy", "SCRIPT KILL"),
    (exceptions.OutOfMemoryError(FULL), "full", "raise its maxmemory"),
    (RESPONSE(f"{OF_6}@user_script: 12: -OOM {FULL}"), "full", "raise its maxmemory"),
    (RESPONSE("MISCONF Redis is configured to save"), "cannot save", "a full disk?"),
    (redis.ReadOnlyError("You can't write"), "read-only", "connect to its master"),
    (RESPONSE(f"{OF_6}@user_script: 1: -READONLY You"), "read-only", "connect to its master"),
    (exceptions.MasterDownError("Link is down"), "without a master", "lost its master"),
    (RESPONSE("NOREPLICAS Not enough"), "too few replicas", "min-replicas-to-write"),
    (exceptions.MovedError("1 127.0.0.1:7000"), "another node's", "(slot 1 is at 127.0.0.1:7000)"),
    (PIPED, "another node's", "(slot 1 is at x:7000)"),
    (exceptions.AskError("1 127.0.0.1:7000"), "another node's", "redis+cluster://"),
    (exceptions.TryAgainError("Multiple keys"), "another node's", "redis+cluster://"),
    (exceptions.ClusterDownError("Hash slot"), "a cluster that is down", "CLUSTER NODES"),
    (RESPONSE("CLUSTERDOWN The cluster"), "a cluster that is down", "CLUSTER NODES"),
    (CONNECTION("max number of clients reached"), "at its limit of clients", "maxclients"),
    (exceptions.NoScriptError("No matching script."), "momentary", "refuses a command"),
    (RESPONSE("UNBLOCKED force unblock"), "momentary", "refuses a command"),
]
FINAL = [
    (redis.AuthenticationError("WRONGPASS"), "password refused", "_PASSWORD_FILE"),
    (exceptions.NoPermissionError("no xadd"), "rights are missing", "ACL LOG"),
    (RESPONSE(f"{OF_6}@user_script: 1: The user executing the script can't run this"), "", "ACL"),
    (RESPONSE("ACL failure in script: User m has no permissions"), "", "ACL LOG"),
    (RESPONSE("unknown command 'XADD', with args"), "a command is missing", "rename-command"),
    (RESPONSE(f"Unknown Redis command called from script{OF_7}"), "", "rename-command"),
    (RESPONSE(f"Unknown command called from script{OF_7}"), "", "rename-command"),
    (RESPONSE(f"Unknown Redict command called from script{OF_7}"), "", "rename-command"),
    (exceptions.ClusterCrossSlotError("Keys"), "a cluster", "MARKETSTATE_PARTITIONS"),
    (RESPONSE("This instance has cluster support disabled"), "no cluster", "rediss://"),
    (RESPONSE("WRONGTYPE not a list"), "other", "refuses a command: WRONGTYPE not a list"),
    (exceptions.InvalidResponse("Protocol Error"), "other", "refuses a command: Protocol"),
]


def settings() -> Settings:
    return Settings(theta=merged_theta(None), redis_host="there", worker_id="one")


@pytest.mark.parametrize(("error", "state", "says"), [*REFUSALS, *FINAL])
def test_every_error_is_told_with_what_to_do(
    error: redis.RedisError, state: str, says: str
) -> None:
    text = str(connection.unusable(error, settings()))
    assert text.startswith("Redis at there:6379 db 0 ")
    assert (says in text, reason(error) in text) == (True, True), text
    assert refusal_of(error).state == (state or refusal_of(error).state)


def test_what_is_transient_is_waited_for_and_at_a_start_only_if_redis_is_there() -> None:
    assert [is_transient(error) for error, *_ in REFUSALS] == [True] * len(REFUSALS)
    assert [is_transient(error) for error, *_ in FINAL] == [False] * len(FINAL)
    refusing = {state for error, state, _ in REFUSALS if refuses_for_now(error)}
    assert {state for _, state, _ in REFUSALS} - refusing == {"away"}
    assert [error for error, *_ in FINAL if refuses_for_now(error)] == []


def test_an_outage_is_told_once_and_again_when_the_reason_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times_s = iter((100.0, 103.0, 200.0))
    clock = SimpleNamespace(monotonic=lambda: next(times_s))
    monkeypatch.setattr("marketstate.worker.store.outage.time", clock)
    lines: list[str] = []
    outage = Outage(settings(), lines.append)
    outage.end()
    errors = [error for error, *_ in REFUSALS]
    for error in (errors[0], errors[4], errors[2], errors[7], errors[8], FINAL[0][0], errors[0]):
        outage.note(error)
    text = outage.text
    outage.end()
    where = "Redis at there:6379 db 0"
    assert lines == [
        f"lost {where}: Error 111 connecting to x:6379. Connection refused.",
        f"still waiting for {where}: Redis is loading",
        f"still waiting for {where}: Error 111 connecting to x:6379. Connection refused.",
        "Redis is back after 3.0 s",
    ]
    assert (text, outage.text) == (lines[2], "")
    outage.note(errors[7])
    assert lines[4:] == [f"lost {where}: Redis is loading"]


def test_no_wait_makes_a_plain_url_lead_to_another_node() -> None:
    moved = exceptions.MovedError("1 127.0.0.1:7000")
    with pytest.raises(RedisUnusable, match=r"slot 1 is at .* to redis\+cluster://"):
        Outage(settings(), pytest.fail).note(moved)
    told: list[str] = []
    url = "redis+cluster://there:6379"
    Outage(replace(settings(), redis_url=url), told.append).note(moved)
    assert told == [f"lost Redis at {url}: slot 1 is at 127.0.0.1:7000"]


@pytest.mark.parametrize("url", ["rediss://there", "rediss+cluster://there"])
def test_a_silent_server_may_be_one_without_tls(url: str) -> None:
    silent = redis.TimeoutError("Timeout connecting to server")
    hint = "a server without TLS does not answer to rediss://"
    assert str(connection.unusable(silent, settings())).count(hint) == 0
    assert str(connection.unusable(silent, replace(settings(), redis_url=url))).endswith(hint)


def test_attempts_are_no_further_apart_than_the_caller_wants() -> None:
    """G6: a lease time, for a worker."""
    waits_s: list[float] = []
    errors = iter([CONNECTION("refused")] * 12)

    def attempt() -> str:
        if error := next(errors, None):
            raise error
        return "done"

    stop: Any = SimpleNamespace(sleep=waits_s.append, requested=False)
    outage = Outage(settings(), lambda _: None)
    assert connection.retry_transient(attempt, stop, outage.note, longest_wait_s=1.0) == "done"
    assert (len(waits_s), max(waits_s) < 1.0 + 0.11) == (12, True)
