"""The rules of a reader, with replies and a clock that the test gives."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from marketstate.schemas.group_streams import RETRY_S, Delivered, GroupStreams
from marketstate.schemas.passing import passes
from marketstate.schemas.steps import Command, Steps, Wait

STREAMS = ("a", "b", "c")
Answer = Callable[[Command], Any]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def streams(*, apart: bool = True) -> GroupStreams:
    return GroupStreams(
        STREAMS,
        group="sizing",
        consumer="one",
        start="0",
        passes=passes,
        count=10,
        block_ms=1_000,
        apart=apart,
    )


def carry_out(steps: Steps[Any], answer: Answer) -> tuple[Any, list[Command], list[float]]:
    """What came of it, what was asked, and how long it waited."""
    asked: list[Command] = []
    waited: list[float] = []
    reply: Any = None
    error: Exception | None = None
    while True:
        try:
            step = steps.throw(error) if error else steps.send(reply)
        except StopIteration as end:
            return end.value, asked, waited
        reply, error = None, None
        if isinstance(step, Wait):
            waited.append(step.seconds)
            continue
        asked.append(step)
        try:
            reply = answer(step)
        except Exception as raised:
            error = raised


def stream_of(command: Command) -> str:
    if command.name == "xack":
        return str(command.arguments[0])
    return command.key


def reading(
    *away: str, clock: Clock | None = None, takes_s: float = 0.0, **found: list[str]
) -> Answer:
    """Streams that are away take so long to fail; the others have these ids pending."""

    def answer(command: Command) -> Any:
        stream = stream_of(command)
        if stream in away:
            if clock:
                clock.now_s += takes_s
            raise ConnectionError("its node is away")
        entries = [(each, {b"a": b"b"}) for each in found.get(stream, [])]
        return [[stream, entries]]

    return answer


def ids(delivered: list[Delivered]) -> list[tuple[str, str]]:
    return [(stream, entry_id) for stream, entry_id, _ in delivered]


def test_what_is_away_is_asked_again_when_the_others_had_as_much_time(clock: Clock) -> None:
    subject = streams()
    slow = reading("a", "b", clock=clock, takes_s=3.0, c=["1-0"])
    found, asked, _ = carry_out(subject.fetch(), slow)
    assert ids(found) == [("c", "1-0")]
    assert [stream_of(each) for each in asked] == ["a", "b", "c"]
    began_s = clock.now_s
    while len({stream_of(each) for each in carry_out(subject.fetch(), slow)[1]}) == 1:
        clock.now_s += 0.25
    assert clock.now_s - began_s >= 3.0


def test_what_is_back_is_asked_at_once_and_so_are_the_others(clock: Clock) -> None:
    subject = streams()
    carry_out(subject.fetch(), reading("a", "b", clock=clock, takes_s=9.0))
    # The first one has waited for less than the second.
    clock.now_s += 18.5
    found, asked, _ = carry_out(subject.fetch(), reading(a=["1-0"], b=["2-0"]))
    assert ids(found)[0] == ("a", "1-0")
    assert "b" in {stream_of(each) for each in asked}


def test_nothing_is_handed_out_of_a_stream_whose_acknowledgement_failed(clock: Clock) -> None:
    subject = streams()
    carry_out(subject.acknowledge("a", "1-0"), reading("a"))
    assert subject.is_owing("a")
    assert not subject.is_owing("b")
    found, asked, _ = carry_out(subject.fetch(), reading(a=["2-0"], b=["5-0"]))
    assert ids(found) == [("b", "5-0")], "a rests"
    clock.now_s += RETRY_S
    found, asked, _ = carry_out(subject.fetch(), reading(a=["2-0"]))
    assert (asked[0].name, asked[0].arguments) == ("xack", ("a", "sizing", "1-0"))
    assert ids(found) == [("a", "2-0")]
    assert not subject.is_owing("a")


@pytest.mark.parametrize("apart", [False, True])
def test_while_all_are_away_it_waits_for_no_longer_than_a_stop_may_take(
    apart: bool, clock: Clock
) -> None:
    subject = streams(apart=apart)

    def away(_command: Command) -> Any:
        clock.now_s += 30.0
        raise TimeoutError

    _, asked, waited = carry_out(subject.fetch(), away)
    assert asked
    assert waited == [RETRY_S]
    _, asked, waited = carry_out(subject.fetch(), away)
    assert (asked, waited) == ([], [RETRY_S])


def test_an_outage_is_told_once_and_so_is_its_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    subject = streams(apart=False)

    def away(_command: Command) -> Any:
        raise ConnectionError("refused")

    for _ in range(3):
        carry_out(subject.fetch(), away)
        clock.now_s += RETRY_S
    carry_out(subject.fetch(), lambda _command: [])
    carry_out(subject.fetch(), lambda _command: [])
    assert [record.getMessage() for record in caplog.records] == [
        "a (and 2 others) is away, and is tried again: refused",
        "a (and 2 others) is back",
    ]


class ClusterClient:
    """Notes what it is told to carry out."""

    def __init__(self, *known: str) -> None:
        self.known, self.options = known, {"no": "command"}

    def get_node_from_key(self, key: str) -> str:
        if key not in self.known:
            raise ValueError("it has not asked for the nodes")
        return f"the node of {key}"

    def execute_command(self, *_words: Any, **options: Any) -> None:
        self.options = options


@pytest.mark.parametrize(("known", "node"), [(["a"], {"target_nodes": "the node of a"}), ([], {})])
def test_a_read_goes_to_the_node_of_its_stream_as_soon_as_the_client_knows_it(
    known: list[str], node: dict[str, str]
) -> None:
    _, asked, _ = carry_out(streams().fetch(), reading())
    client = ClusterClient(*known)
    asked[0].of(client)
    assert asked[0].arguments[-3:] == ("STREAMS", "a", "0")
    assert client.options == node


def test_other_errors_are_raised(clock: Clock) -> None:
    def refuse(_command: Command) -> Any:
        raise ValueError(f"no rights at {clock.now_s}")

    with pytest.raises(ValueError, match="no rights"):
        carry_out(streams().fetch(), refuse)
