"""What `marketstate serve` says of markets that are gone, and while its reader hangs."""

import math
from types import SimpleNamespace

import pytest

from marketstate.worker.commands.limits import Limits
from marketstate.worker.commands.market_follower import Followed
from marketstate.worker.commands.markets import moved_on
from marketstate.worker.commands.metrics.reading import Reading
from marketstate.worker.commands.serve import app
from marketstate.worker.commands.serve.document import GroupDocument
from marketstate.worker.commands.serve.reader import HEALTHY, News, Reader
from marketstate.worker.log import log
from marketstate.worker.settings import settings_from
from tests.support.records import make_record


def followed(*symbols: str) -> Followed:
    return Followed({one: moved_on(None, make_record(one, 0)) for one in symbols}, 0, 0, "")


@pytest.mark.parametrize(("gone", "again"), [(1_000, False), (1_001, True)])
def test_so_many_that_are_gone_are_told_and_with_more_everything_is_sent_again(
    gone: int, again: bool
) -> None:
    """Otherwise what comes and goes would fill the memory."""
    board = app.Site(settings_from({})).boards["1m"]
    board.take(followed("STAYS", *(f"GONE{i:04d}" for i in range(gone))), None)
    seen = board.event_id
    board.take(followed("STAYS"), None)
    events = board.events(seen)
    assert (b"event: all\n" in events, b"event: markets\n" in events) == (again, not again)
    assert (b'"gone":["GONE' in events, b'"symbol":"STAYS"' in events) == (not again, again)
    assert b"GONE0000" not in board.everything()


def test_after_all_was_read_again_a_page_gets_everything_once_and_then_only_what_changes() -> None:
    """A market with the state of before would come with each change, or its last closes twice."""
    board = app.Site(settings_from({})).boards["1m"]
    for _ in range(3):
        board.take(followed("CALM"), None)
        board.take(followed("CALM", "NEXT"), GroupDocument())
    old = board.event_id
    board.take(followed("CALM", "NEXT")._replace(is_new=True), None)
    assert b"event: all\n" in board.events(old)
    for _ in range(9):
        seen = board.event_id
        board.take(None, GroupDocument())
        assert b"event: markets\n" not in board.events(seen)


def test_health_is_bad_while_the_reader_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(app, "time", SimpleNamespace(monotonic=lambda: now_s))
    settings = settings_from({})
    site = app.Site(settings)
    assert site.failing == "nothing has been read yet"
    site.take(
        News(
            {},
            {"1m": GroupDocument(healthy=True, health=HEALTHY)},
            Reading(settings, 0.0, [], None),
        )
    )
    now_s = 130.0
    assert site.failing == ""
    now_s = 131.0
    assert site.failing == "Redis was not read for 31 s"


def test_the_log_says_which_line_fails_and_when_another_does_but_not_each_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", log.name)
    reader = Reader(settings_from({}), Limits(math.inf, math.inf), print, per_symbol=False)
    for health in (
        "",
        "6 entries are unfinished; allowed: 4",
        "17 entries are unfinished; allowed: 4",
        "the oldest unfinished entry is 61s old; allowed: 60s",
        "the oldest unfinished entry is 2m old; allowed: 60s",
        "",
        "1 of 2 partitions cannot be read, such as {p00}: away",
        "1 of 2 partitions cannot be read, such as {p01}: away",
    ):
        reader.tell_of_change(health)
    assert caplog.messages == [
        "unhealthy: 6 entries are unfinished; allowed: 4",
        "unhealthy: the oldest unfinished entry is 61s old; allowed: 60s",
        "healthy again",
        "unhealthy: 1 of 2 partitions cannot be read, such as {p00}: away",
        "unhealthy: 1 of 2 partitions cannot be read, such as {p01}: away",
    ]
