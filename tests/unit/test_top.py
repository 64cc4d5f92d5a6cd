"""How `marketstate top` handles states and keys, without a terminal."""

import re
from typing import Any

import msgspec
import pytest

from marketstate.schemas.market_state import MarketStateRecord, encode_record
from marketstate.worker.commands.market_follower import Rate
from marketstate.worker.commands.markets import Market, kept_of_each, moved_on, readable
from marketstate.worker.commands.top.feed import View
from marketstate.worker.commands.top.keyboard import keys_in
from marketstate.worker.commands.top.screen import ASCII, UNICODE, Marks, Screen, marks_for, rows_on
from marketstate.worker.commands.top.selection import COLUMNS, Look
from marketstate.worker.engine.status import Status
from marketstate.worker.settings import settings_from
from tests.support.records import make_record

MINUTE_MS = 60_000
WHERE = "Redis at localhost:6379 db 0"
GOOD = make_record("BTCUSDT", 0)
GOOD_BYTES = encode_record(GOOD).encode()


def markets_of(*records: MarketStateRecord) -> dict[str, Market]:
    markets: dict[str, Market] = {}
    for record in records:
        markets[record.symbol] = moved_on(markets.get(record.symbol), record)
    return markets


def view_of(markets: dict[str, Market], **changes: Any) -> View:
    return View(markets, None, "no group yet", 0, None, 0, "")._replace(**changes)


def drawn(
    view: View,
    look: Look | None = None,
    size: tuple[int, int] = (120, 24),
    marks: Marks = UNICODE,
    after_ms: int = 0,
    **environ: str,
) -> list[str]:
    """The lines of the screen, `after_ms` after the newest close."""
    closes = [market.record.close_time_ms for market in view.markets.values()]
    now_ms = max(closes, default=0) + after_ms
    screen = Screen(settings_from(environ), marks, WHERE)
    return screen.draw(view, look or Look(), size, now_ms).plain.split("\n")


MANY = markets_of(
    *(make_record(f"SYM{i:03d}", 0, ("trend", "mr", "chop")[i % 3], ts=i / 10) for i in range(600))
)


def test_a_regimes_age_is_counted_from_its_first_close() -> None:
    regimes = ("chop", "chop", "trend", "trend", "trend")
    records = [make_record("BTC", i, regime) for i, regime in enumerate(regimes)]
    held = [markets_of(*records[:count])["BTC"] for count in range(1, 6)]
    assert [market.held_ms // MINUTE_MS for market in held] == [0, 1, 0, 1, 2]
    assert [market.since_known for market in held] == [False, False, True, True, True]
    assert " >60s" in drawn(view_of(markets_of(*records[:2])))[4]
    assert "    2m" in drawn(view_of(markets_of(*records)))[4]


def test_synthetic_prices_are_the_first_that_a_screen_says() -> None:
    invented = msgspec.structs.replace(make_record("SYM001", 0), source="synthetic")
    view = view_of(MANY | markets_of(invented))
    for width in (120, 80, 40):
        line = drawn(view, size=(width, 24))[0]
        assert line.startswith(" SYNTHETIC PRICES: 1 of 600 symbols ")
        assert line.endswith(WHERE) == (width > 40)
    assert "marketstate" in drawn(view, size=(120, 24))[0]
    assert "SYNTHETIC" not in "".join(drawn(view_of(MANY)))


def test_a_screen_shows_every_number_of_a_market() -> None:
    lines = drawn(
        view_of(markets_of(make_record("BTCUSDT", 0, "mr", close=97123.5))), after_ms=3000
    )
    for text in ("BTCUSDT", "97123.5", "0.00100000", "+0.00025000", "0.2500", "mr", ">0s", "3s"):
        assert text in lines[4]
    assert {"symbol", "price", "sigma", "mu", "ts", "regime", "held", "age"} <= set(
        lines[3].replace("▲", "").split()
    )
    assert "mr 1" in lines[2]


def test_missing_candles_are_shown_where_there_are_any_whatever_the_width() -> None:
    some = markets_of(make_record("AAA", 0), make_record("BBB", 0, missing=437))
    for width in (120, 80, 60):
        lines = drawn(view_of(some), size=(width, 24))
        assert "missing" in lines[3].split()
        assert ("437" in lines[4], "437" in lines[5].split()) == (False, True)
    assert "missing" not in drawn(view_of(markets_of(make_record("AAA", 0))))[3]
    look = Look()
    for _ in range([column.name for column in COLUMNS].index("missing")):
        look.press("s", 10)
    assert "BBB" in drawn(view_of(some), look)[4]


@pytest.mark.parametrize("width", [300, 120, 80, 60, 40, 20, 5, 1])
@pytest.mark.parametrize("height", [60, 24, 6, 5, 1])
def test_a_screen_fits_into_its_terminal(width: int, height: int) -> None:
    lines = drawn(view_of(MANY), size=(width, height))
    assert len(lines) <= max(height, 1)
    assert max(map(len, lines)) <= width
    if height >= 6:
        assert len(lines) == height


def marked(view: View, look: Look, size: tuple[int, int] = (80, 24)) -> list[str]:
    """The symbols of the rows on the screen that are marked."""
    text = Screen(settings_from({}), UNICODE, WHERE).draw(view, look, size, 0)
    return [
        line.plain.split()[0]
        for line in text.split("\n")[4:-1]
        if any(str(span.style) == "reverse" and span.start == 0 for span in line.spans)
    ]


def test_a_mark_moves_over_more_symbols_than_rows_and_the_position_is_shown() -> None:
    look, view, page = Look(), view_of(MANY), rows_on(24)
    assert "rows 1-19 of 600" in drawn(view, look)[2]
    moves = (
        *(("", 0, 0), ("up", 0, 0), ("down", 1, 0), ("j", 2, 0), ("k", 1, 0)),
        *(("page down", 20, 2), ("down", 21, 3), ("up", 20, 3), ("page up", 1, 1)),
        *(("end", 599, 581), ("down", 599, 581), ("k", 598, 581), ("page up", 579, 579)),
        *(("home", 0, 0), ("page up", 0, 0)),
    )
    for key, number, first in moves:
        look.press(key, page)
        assert marked(view, look) == [f"SYM{number:03d}"], key
        lines = drawn(view, look, (80, 24))
        assert lines[4].startswith(f"SYM{first:03d}"), key
        assert f"rows {first + 1}-{first + 19} of 600" in lines[2]
    look.press("end", page)
    for key in ("/", *"sym00"):
        look.press(key, page)
    assert marked(view, look) == ["SYM000"]


def test_the_mark_stays_within_a_screen_that_shrinks() -> None:
    look, view = Look(), view_of(MANY)
    for _ in range(10):
        look.press("down", rows_on(24))
    assert marked(view, look, (80, 24)) == ["SYM010"]
    assert drawn(view, look, (80, 8))[-2].startswith("SYM010")


def test_enter_opens_the_marked_symbol_also_when_the_rows_have_moved() -> None:
    """What was on the screen when the key was pressed counts."""
    look, markets = Look(), markets_of(*(make_record(name, 0) for name in ("BBB", "CCC", "DDD")))
    look.press("down", 10)
    assert marked(view_of(markets), look) == ["CCC"]
    look.press("enter", 10)
    more = view_of(markets | markets_of(make_record("AAA", 0)))
    assert drawn(more, look)[3].strip() == "CCC"
    for key in ("f", "s", "r", "x"):
        look.press(key, 10)
    assert drawn(more, look)[3].strip() == "CCC", "other keys have no effect on a chart"
    look.press("escape", 10)
    assert marked(more, look) == ["CCC"]
    assert (look.regime, look.column) == ("all", COLUMNS[0])
    for key in ("down", "enter", "up", "up"):
        look.press(key, 10)
    assert drawn(more, look)[3].strip() == "BBB", "several keys between two screens"


def test_where_there_is_no_symbol_enter_opens_none() -> None:
    look = Look()
    for view in (view_of({}), view_of(MANY)):
        for key in ("/", "z", "z", "enter", "enter"):
            look.press(key, 10)
        assert marked(view, look) == []
        assert not look.with_chart
        look.press("escape", 10)


def test_keys_sort_reverse_and_filter() -> None:
    look, view = Look(), view_of(MANY)
    names = [column.name for column in COLUMNS]
    for _ in range(names.index("ts")):
        look.press("s", 10)
    assert "SYM599" in drawn(view, look)[4]
    assert "▼ts" in drawn(view, look)[3]
    look.press("r", 10)
    assert "SYM000" in drawn(view, look)[4]
    look.press("f", 10)
    assert "of 200" in drawn(view, look)[2]
    for key in ("/", *"sym00x", "backspace", "enter"):
        look.press(key, 10)
    assert "rows 1-4 of 4 with 'sym00'" in drawn(view, look)[2]
    look.press("escape", 10)
    assert "of 200" in drawn(view, look)[2]
    for key in ("/", "z", "z"):
        look.press(key, 10)
    lines = drawn(view, look)
    assert "filter: zz_" in lines[-1]
    assert "no market matches the filter" in lines[4]
    look.press("q", 10)
    assert not look.done, "a letter of the filter"
    look.press("escape", 10)
    look.press("q", 10)
    assert look.done


def test_the_footer_shows_every_key() -> None:
    footer = drawn(view_of(MANY), size=(80, 24))[-1]
    for key in ("q quit", "? keys", "Enter open", "/ filter", "f regime:all", "s sort:symbol"):
        assert key in footer
    look = Look()
    look.press("f", 10)
    look.column = next(column for column in COLUMNS if column.name == "t/mr/c %")
    assert drawn(view_of(MANY), look, size=(80, 24))[-1].endswith("r reverse")


def test_shares_and_regimes_are_distinct_without_colour_and_without_unicode() -> None:
    view = view_of(markets_of(make_record("BTC", 0)))
    for marks in (UNICODE, ASCII):
        runs = "".join(f"({re.escape(mark)}+)" for mark in marks.bar)
        bar = re.search(f" {runs} ", drawn(view, marks=marks)[4])
        assert bar is not None
        assert [len(run) for run in bar.groups()] == [2, 2, 7]
    assert all(line.isascii() for line in drawn(view, marks=ASCII))
    assert marks_for("iso8859-1") == ASCII
    assert marks_for("utf-8") == UNICODE


def test_control_characters_and_markup_in_names_have_no_effect() -> None:
    names = ("[bold red]X[/]", "EVIL\x1b[2J\x07\r\n", "币安人生USDT", "\u202eABC")
    lines = drawn(view_of(markets_of(*(make_record(name, 0) for name in names))))
    text = "\n".join(lines)
    assert "[bold red]X[" in text
    assert "EVIL?[2J???" in text
    assert "币安人生USDT" in text
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(text)


@pytest.mark.parametrize(
    "record",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"schema":2}', b'{"schema":1}'),
        *(b'{"schema":' + b"[" * 60_000, b" " * 70_000 + GOOD_BYTES),
        encode_record(GOOD).replace('"close":100.0', '"close":1e999').encode(),
        encode_record(msgspec.structs.replace(GOOD, close_time_ms=2**63)).encode(),
        encode_record(msgspec.structs.replace(GOOD, close_time_ms=-1)).encode(),
    ],
)
def test_an_invalid_record_does_not_hide_the_others(record: bytes) -> None:
    entries = [(b"1-0", {b"record": record}), (b"2-0", {}), (b"3-0", {b"record": GOOD_BYTES})]
    assert list(readable(entries)) == [(b"1-0", None), (b"2-0", None), (b"3-0", GOOD)]


def test_an_old_state_is_marked() -> None:
    view = view_of(markets_of(make_record("BTC", 0)))
    assert "!" not in drawn(view, after_ms=2 * MINUTE_MS)[4]
    assert "!2m" in drawn(view, after_ms=2 * MINUTE_MS + 1_000)[4]


def test_what_is_unknown_is_left_out_with_the_reason() -> None:
    lines = drawn(view_of({}, trouble="Redis is away", unreadable=2))
    assert "retrying: Redis is away" in lines[0]
    assert lines[1].startswith("states/min 0  (no group yet)")
    assert "2 entries are not records of this version" in lines[1]
    assert "no states yet in quantum:stream:marketstate" in lines[4]


def test_a_rate_is_known_after_a_minute_and_forgets_what_is_older() -> None:
    rate = Rate()
    for now_s, total, left in ((0, 0, 60), (30, 300, 30), (59.5, 300, 1)):
        rate.add(total, now_s)
        assert (rate.per_min, rate.known_in_s) == (None, left)
    for now_s, total, expected in ((60, 600, 600), (90, 600, 300), (150, 600, 0)):
        rate.add(total, now_s)
        assert (rate.per_min, rate.known_in_s) == (expected, 0)
    rate.add(5, 151)
    assert (rate.per_min, rate.known_in_s) == (None, 60)


def test_of_many_markets_fewer_states_are_kept() -> None:
    """Otherwise 100,000 symbols would fill the memory."""
    assert [kept_of_each(n) for n in (0, 3, 600, 10**6)] == [1_440, 1_440, 166, 2]
    market = None
    for minute in range(5):
        market = moved_on(market, make_record("BTCUSDT", minute), 3)
    assert market is not None
    assert [each.buffer_size for each in market.recent] == [2, 3, 4]


def test_the_first_minute_says_when_candles_are_counted() -> None:
    lines = drawn(view_of({}, candles_per_min="(in 42 s)"))
    assert "candles/min (in 42 s)  states/min 0" in lines[1]


@pytest.mark.parametrize("height", [24, 12])
def test_a_question_mark_shows_every_key_and_another_key_goes_back(height: int) -> None:
    look, view = Look(), view_of(MANY)
    look.press("?", 10)
    lines = drawn(view, look, (80, height))
    assert len(lines) == height
    assert max(map(len, lines)) <= 80
    for key in ("q  Ctrl-Z ", "up  k ", "/ ", "Enter ", "f ", "s  r "):
        assert any(line.startswith(key) for line in lines[4:-1])
    assert not any("…" in line for line in lines)
    assert height < 24 or any(line.endswith("waits for over 10 s") for line in lines)
    assert "SYM000" not in "".join(lines)
    look.press("s", 10)
    assert "SYM000" in drawn(view, look, (80, height))[4]
    assert look.column.name == "symbol"


def test_80_columns_have_the_price_and_the_percentages() -> None:
    lines = drawn(view_of(markets_of(make_record("BTC", 0, close=97123.5))), size=(80, 24))
    assert "20/20/60" in lines[4]
    assert "97123.5" in lines[4]


def rising(count: int, symbol: str = "AAA") -> list[MarketStateRecord]:
    """Prices rise, and sigma falls to 0.001."""
    regimes = ("trend", "mr", "chop")
    return [
        make_record(symbol, i, regimes[i % 3], close=100.0 + i, sigma=0.001 * (count - i))
        for i in range(count)
    ]


def test_wide_terminals_have_a_sparkline_of_the_last_closes() -> None:
    view = view_of(markets_of(*rising(20), make_record("FLAT", 0)))
    lines = drawn(view)
    assert "  ▁▂▂▃▄▄▅▅▆▇▇█  " in lines[4]
    assert not {*"▁▂▃▄▅▆▇"} & {*lines[5]}
    assert "recent" not in drawn(view, size=(80, 24))[3]
    wider = drawn(view, size=(160, 24))
    assert "  recent sigma        recent  " in wider[3]
    assert "  █▇▇▆▅▅▄▄▃▂▂▁  ▁▂▂▃▄▄▅▅▆▇▇█  " in wider[4]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 14)])
@pytest.mark.parametrize("marks", [UNICODE, ASCII])
def test_enter_shows_a_symbol_with_its_last_states_as_a_chart(
    size: tuple[int, int], marks: Marks
) -> None:
    view = view_of(markets_of(*rising(300), *rising(1, "BBB"), *rising(5, "CCC")))
    look = Look()
    look.press("enter", 10)
    lines = drawn(view, look, size, marks)
    assert (len(lines), max(map(len, lines))) == (size[1], size[0])
    assert lines[3].strip() == "AAA"
    assert lines[-1].startswith("q quit  ? keys  Enter back")
    assert lines[4].startswith("price 399  sigma 0.00100000  mu")
    regimes, sigmas = lines[size[1] - 4 : size[1] - 2]
    levels = [marks.levels.index(level) for level in sigmas]
    assert (len(levels), levels) == (size[0], sorted(levels, reverse=True))
    assert (levels[0], levels[-1]) == (len(marks.levels) - 1, 0)
    assert len(regimes) == size[0]
    assert {*regimes} == {*marks.bar}
    full = marks.levels[-1]
    heights = [sum(line[i] == full for line in lines[8:-5]) for i in range(size[0])]
    assert heights == sorted(heights)
    assert heights[-1] == len(lines[8:-5])
    for key, symbol in (("down", "BBB"), ("down", "CCC"), ("down", "CCC"), ("up", "BBB")):
        look.press(key, 10)
        assert drawn(view, look, size, marks)[3].strip() == symbol
    assert drawn(view, look, size, marks)[7].startswith("1 state since 2025-05-04 15:40:59, ")
    look.press("escape", 10)
    assert "symbol" in drawn(view, look, size, marks)[3]


@pytest.mark.parametrize(("mu", "mark"), [(0.5, "▲"), (-0.5, "▼"), (0.0, " ")])
def test_an_arrow_shows_the_direction_of_the_trend(mu: float, mark: str) -> None:
    record = msgspec.structs.replace(make_record("BTC", 0), mu=mu)
    assert f"{mark}0.2500" in drawn(view_of(markets_of(record)), size=(80, 24))[4]


@pytest.mark.parametrize(
    ("lag", "oldest_s", "late"), [(5, 11, True), (5, 9, False), (0, 11, False)]
)
def test_a_lag_that_stays_is_red(lag: int, oldest_s: float, late: bool) -> None:
    some: Any = {"lag_at_least": False, "pending": 0, "shards": [], "workers": [], "symbols": []}
    status = Status(
        group="a",
        stream="b",
        lag=lag,
        oldest_unfinished_s=oldest_s,
        counters={},
        broken_commits=[],
        quarantine={},
        quarantine_hidden="",
        **some,
    )
    screen = Screen(settings_from({}), UNICODE, WHERE)
    text = screen.draw(view_of({}, status=status), Look(), (120, 24), 0)
    assert ("bold white on red" in {str(span.style) for span in text.spans}) == late


def test_key_presses_are_decoded() -> None:
    assert keys_in(b"\x1b[Aa\x1b[6~\x1b\r") == ["up", "a", "page down", "escape", "enter"]
    assert keys_in("é".encode() + b"\xff\x1b[200~") == ["é"]


def test_a_record_of_any_regime_is_shown() -> None:
    record = msgspec.structs.replace(make_record("BTC", 0), regime="a-new-one")
    assert "a-new-" in drawn(view_of(markets_of(record)))[4]


def test_a_regime_that_never_changed_is_told_and_what_the_regimes_are() -> None:
    same = [make_record(symbol, i) for i in (0, 1) for symbol in ("AAA", "BBB")]
    told = "   chop throughout: see marketstate calibrate"
    assert drawn(view_of(markets_of(*same)))[2].endswith(told)
    assert drawn(view_of(markets_of(*same)), size=(80, 24))[2].endswith("   chop throughout")
    for others in (same[:2], [*same, make_record("BBB", 2, "mr")], [*same, make_record("C", 0)]):
        assert "throughout" not in drawn(view_of(markets_of(*others)))[2]
    look = Look()
    look.with_help = True
    meaning = "trend, mr and chop describe the last 256 returns; they are no forecast"
    assert any(meaning in line for line in drawn(view_of({}), look))


def test_a_key_chooses_the_next_interval_if_there_are_several() -> None:
    look = Look(["1m", "5m", "1h"], "5m")
    for expected in ("1h", "1m", "5m"):
        look.press("i", 10)
        assert look.interval == expected
    several: Any = {"MARKETSTATE_INTERVALS": "1m,5m,1h"}
    lines = drawn(view_of({}), look, **several)
    assert "  i interval:5m  " in lines[-1]
    assert lines[4].rstrip() == "no states yet in quantum:stream:marketstate.5m"
    lines = drawn(view_of({}, is_read=False), look, **several)
    assert lines[4].rstrip() == "reading the states of 5m ..."
    look.with_help = True
    help_of_several = drawn(view_of({}), look, **several)
    only = Look(["1m"], "1m")
    only.press("i", 10)
    assert "interval" not in drawn(view_of({}), only)[-1]
    only.with_help = True
    told = [line for line in help_of_several if line not in drawn(view_of({}), only)]
    assert told[0].startswith("i       show the states of the next interval")
    assert any("any other key goes back" in line for line in help_of_several)
