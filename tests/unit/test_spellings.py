"""One series of candles in every spelling, through `state`, `plot`, `replay` and the stream: each
gives the same state to the bit, or the same refusal.
"""

import argparse
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from marketstate.core.state import MarketState
from marketstate.core.theta import merged_theta
from marketstate.schemas.candle import decode_candle
from marketstate.schemas.closed import FLAGS
from marketstate.schemas.interval import length_ms
from marketstate.worker.cli import main
from marketstate.worker.commands.options import add_candle_files, said
from marketstate.worker.commands.plot.series import NUMBERS
from marketstate.worker.commands.plot.sources import from_files
from marketstate.worker.commands.replay.sources import Item, Sources
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.said import Said
from marketstate.worker.files.findings import Findings
from marketstate.worker.settings import Settings, settings_from
from tests.support.candles import FORMS
from tests.support.spellings import CANDLES, CLOSES, HOUR_MS, SPELLINGS, SYMBOL, Spelling, write

EXPECTED: Any = MarketState().get_state(SYMBOL, CLOSES)
# An hour instead of a minute is the interval of the live stream.
HOURLY = settings_from({"MARKETSTATE_CANDLE_INTERVAL": "1h"})
THE_SAME = [each for each in SPELLINGS if not each.refusal]
REFUSED = [each for each in SPELLINGS if each.refusal]


def said_by(spelling: Spelling) -> Said:
    parser = argparse.ArgumentParser()
    add_candle_files(parser)
    return said(parser.parse_args(spelling.options))


def plotted(path: Path, given: Said) -> Any:
    return from_files([path], given, Findings(allow_gaps=True), HOURLY, last=1)


def replayed(path: Path, given: Said, settings: Settings = HOURLY) -> list[Item]:
    sources = Sources([path], settings, keep_ids=False, said=given)
    return list(sources.read(Findings(skip_bad=False, allow_gaps=False)))


def fields_of(item: Item) -> dict[bytes, bytes]:
    """The entry that worker/lua/feed.lua makes of it."""
    strings, at = [], 4
    while at < len(item.packed):
        (length,) = struct.unpack_from("<I", item.packed, at)
        strings.append(item.packed[at + 4 : at + 4 + length])
        at += 4 + length
    return dict(zip(strings[1::2], strings[2::2], strict=True))


def test_there_are_at_least_forty_spellings() -> None:
    assert len({each.name for each in SPELLINGS}) == len(SPELLINGS)
    assert len(THE_SAME) >= 40


@pytest.mark.parametrize("spelling", THE_SAME, ids=lambda each: each.name)
def test_every_spelling_gives_the_same_state_in_every_command(
    spelling: Spelling, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, given = write(tmp_path, spelling.files), said_by(spelling)
    assert main(["state", str(path), "--json", *spelling.options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    assert (found["symbol"], found["prices"], found["missing"]) == (spelling.symbol, 300, 0)
    assert abs(found["close_time_ms"] - CANDLES[-1].close_time) <= 999

    (series,) = plotted(path, given).values()
    assert (series.symbol, series.interval) == (spelling.symbol, "1h")
    assert series.times_ms.tolist() == [found["close_time_ms"]]
    numbers = {name: values.tolist()[0] for name, values in series.numbers.items()}
    inner = EXPECTED["regime_probs"] | EXPECTED["features"]
    whole = EXPECTED | inner | {"close": CLOSES[-1]}
    assert numbers == {name: whole[name] for name in NUMBERS}

    fed = replayed(path, given)
    candles = [decode_candle(fields_of(item), item.time_ms) for item in fed]
    assert [one.close for one in candles] == CLOSES
    assert {one.symbol for one in candles} == {spelling.symbol}
    assert candles[-1].close_time == found["close_time_ms"]


@pytest.mark.parametrize("spelling", REFUSED, ids=lambda each: each.name)
def test_what_can_be_read_in_two_ways_is_refused_in_the_same_words_by_every_command(
    spelling: Spelling, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, given = write(tmp_path, spelling.files), said_by(spelling)
    assert main(["state", str(path), *spelling.options]) == 2
    error = capsys.readouterr().err
    assert spelling.refusal in error
    assert str(tmp_path) in error
    with pytest.raises(ConfigurationError) as plot_error:
        plotted(path, given)
    assert spelling.refusal in str(plot_error.value)
    with pytest.raises(ConfigurationError) as replay_error:
        replayed(path, given, _with_interval_of(path))
    assert spelling.refusal in str(replay_error.value)


def _with_interval_of(path: Path) -> Settings:
    """Settings that a file of this name fits, so that its content is looked at."""
    interval = next((each for each in ("1m", "1d", "2h") if f"-{each}" in path.name), "1h")
    return settings_from({"MARKETSTATE_CANDLE_INTERVAL": interval})


@pytest.mark.parametrize("form", FORMS)
def test_the_forms_of_the_stream_give_the_same_state(form: str) -> None:
    closes = []
    for one in CANDLES:
        fields = {
            name.encode(): value if isinstance(value, bytes) else value.encode()
            for name, value in FORMS[form](one).items()
        }
        closes.append(decode_candle(fields, one.close_time).close)
    assert MarketState(merged_theta()).get_state(SYMBOL, closes) == EXPECTED


FLAT = {
    **{f"flag {flag}": {flag: "true"} for flag in FLAGS},
    "flag 1": {"closed": "1"},
    "flag True": {"x": "True"},
    **{f"interval {text}": {"interval": text} for text in ("1H", "1hour", "ONE_HOUR", "PT1H")},
    "open 0": {"open": "0.0"},
    "volume empty": {"volume": ""},
}


@pytest.mark.parametrize("added", FLAT.values(), ids=FLAT)
def test_spellings_of_an_entry_give_the_same_state_and_updates_do_not_count(
    added: dict[str, str],
) -> None:
    closes = []
    for one in CANDLES:
        fields = {"symbol": SYMBOL, "close": str(one.close), "close_time": str(one.close_time)}
        early_ms = one.close_time - HOUR_MS // 2
        whole = {name.encode(): text.encode() for name, text in (fields | added).items()}
        flag = next((name for name in added if name in FLAGS), None)
        update = {b"close": b"50000"} | ({flag.encode(): b"false"} if flag else {})
        for entry, entry_ms in ((whole | update, early_ms), (whole, one.close_time)):
            found = decode_candle(entry, entry_ms, interval_ms=HOUR_MS)
            closes += [found.close] if found.is_closed else []
            assert length_ms(found.interval or "1h") == HOUR_MS
    assert MarketState().get_state(SYMBOL, closes) == EXPECTED
