"""One series of hourly candles, spelled as exchanges and people spell it in files.

Each spelling gives the same state, or is refused with a clear question.
"""

import gzip
import io
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from marketstate.schemas.candle import Candle

HOUR_MS: Final = 3_600_000
START_MS: Final = 1_735_689_600_000
SYMBOL: Final = "BTCUSDT"
NAME: Final = "BTCUSDT-1h.csv"


def hourly_candles(count: int = 300, seed: int = 11) -> list[Candle]:
    """A walk of rounded prices. Each candle opens at the last close, and moves both ways."""
    rng = np.random.RandomState(seed)
    closes = np.round(93_576 * np.exp(np.cumsum(rng.standard_normal(count) * 0.005)), 2).tolist()
    wicks = np.round(rng.rand(count, 2) * 200 + 0.01, 2).tolist()
    found = []
    for i, (close, (up, down)) in enumerate(zip(closes, wicks, strict=True)):
        opened = closes[i - 1] if i else 93_576.0
        found.append(
            Candle(
                symbol=SYMBOL,
                interval="1h",
                open=opened,
                high=round(max(opened, close) + up, 2),
                low=round(min(opened, close) - down, 2),
                close=close,
                volume=1.5,
                open_time=START_MS + i * HOUR_MS,
                close_time=START_MS + (i + 1) * HOUR_MS - 1,
            )
        )
    return found


CANDLES: Final = hourly_candles()
CLOSES: Final = [one.close for one in CANDLES]

Cell = Callable[[Candle], object]


class Spelling(NamedTuple):
    name: str
    files: dict[str, bytes]
    options: tuple[str, ...] = ()
    refusal: str = ""
    """What the refusal says; empty if it is read."""
    symbol: str = SYMBOL


def opened(one: Candle) -> int:
    assert one.open_time is not None
    return one.open_time


def moment(one: Candle) -> datetime:
    return datetime.fromtimestamp(opened(one) / 1_000, UTC)


CELLS: Final[dict[str, Cell]] = {
    "ms": opened,
    "close ms": lambda one: one.close_time,
    "next ms": lambda one: one.close_time + 1,
    "s": lambda one: opened(one) // 1_000,
    "us": lambda one: opened(one) * 1_000,
    "close us": lambda one: one.close_time * 1_000 + 999,
    "ns": lambda one: opened(one) * 1_000_000,
    "float ms": lambda one: f"{opened(one)}.0",
    "float s": lambda one: f"{opened(one) / 1_000:.3f}",
    "iso": lambda one: moment(one).strftime("%Y-%m-%d %H:%M:%S"),
    "iso t": lambda one: moment(one).strftime("%Y-%m-%dT%H:%M"),
    "iso z": lambda one: moment(one).strftime("%Y-%m-%dT%H:%M:%SZ"),
    "iso utc": lambda one: moment(one).strftime("%Y-%m-%d %H:%M:%S UTC"),
    "iso zone": lambda one: moment(one).astimezone(timezone(timedelta(hours=5.5))).isoformat(),
    "last second": lambda one: (moment(one) + timedelta(seconds=3_599)).strftime(
        "%Y-%m-%d %H:%M:%S"
    ),
    "day": lambda one: moment(one).strftime("%Y-%m-%d"),
    "open": lambda one: one.open,
    "high": lambda one: one.high,
    "low": lambda one: one.low,
    "close": lambda one: one.close,
    "volume": lambda one: one.volume,
    "1": lambda _one: 1,
    "empty": lambda _one: "",
    "zero": lambda _one: "0.0",
    "null": lambda _one: "null",
    "true": lambda _one: "true",
    "True": lambda _one: "True",
    "false": lambda _one: "false",
    "slash": lambda _one: "BTC/USDT",
    "1h": lambda _one: "1h",
    "1H": lambda _one: "1H",
    "60": lambda _one: "60",
    "4h": lambda _one: "4h",
    "quoted": lambda one: f'"{one.close}"',
}


def table(
    cells: str,
    names: str | None = None,
    separator: str = ",",
    *,
    before: str = "",
    end: str = "\n",
    candles: Sequence[Candle] = CANDLES,
) -> str:
    """A file; `cells` are names of CELLS, separated by commas."""
    columns = [CELLS[name] for name in cells.split(",")]
    rows = [separator.join(str(cell(one)) for cell in columns) for one in candles]
    header = [] if names is None else [names.replace(",", separator)]
    return before + end.join([*header, *rows]) + end


def zipped(name: str, text: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return target.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write the files to `folder`; the one file, or the folder if there are more."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / next(iter(files)) if len(files) == 1 else folder


def _one(text: str, name: str = NAME) -> dict[str, bytes]:
    return {name: text.encode()}


_PRICES: Final = "open,high,low,close,volume"
_NAMED: Final = f"open_time,{_PRICES}"
_PLAIN: Final = f"ms,{_PRICES}"
_OTHER_ORDER: Final = "ms,open,close,high,low,volume"
_BINANCE: Final = f"ms,{_PRICES},close ms,1,1,1,1,1"
_NEWEST_FIRST: Final = CANDLES[::-1]
_UPDATES: Final = [
    each
    for one in CANDLES
    for each in (msgspec.structs.replace(one, close=one.close + 50, is_closed=False), one)
]
_TWICE: Final = [each for one in CANDLES for each in (one, one)]
_TWO_FEEDS: Final = [
    each
    for one in CANDLES
    for each in (one, msgspec.structs.replace(one, close_time=one.close_time + 1))
]
_OPEN_OR_CLOSE: Final = "may be the open or the close time of a candle"
CELLS["flag"] = lambda one: one.is_closed
CELLS["flag 1"] = lambda one: int(one.is_closed)


def _timed(cell: str, name: str = "open_time") -> dict[str, bytes]:
    return _one(table(f"{cell},{_PRICES}", f"{name},{_PRICES}"))


SPELLINGS: Final = [
    # Order and names
    Spelling("6 columns", _one(table(_PLAIN))),
    Spelling("12 columns", _one(table(_BINANCE))),
    Spelling("12 columns in us", _one(table(f"us,{_PRICES},close us,1,1,1,1,1"))),
    Spelling("6 named", _one(table(_PLAIN, _NAMED))),
    Spelling("close and time", _one(table("close,ms", "close,open_time"))),
    Spelling("camel case", _one(table("ms,close", "openTime,close"))),
    Spelling("words", _one(table("close ms,close", "Close Time,Close"))),
    Spelling("close_time_ms", _one(table("close ms,close", "close_time_ms,close"))),
    Spelling("start and stop", _one(table("ms,next ms,close", "start,stop,close"))),
    Spelling("more columns", _one(table("1,ms,close,1", "trades,open_time,close,Volume BTC"))),
    Spelling("an index", _one(table("1,ms,close", ",open_time,close"))),
    Spelling("Bitfinex's order", _one(table(_OTHER_ORDER)), refusal="taken as time 1735689600000"),
    Spelling(
        "Bitfinex's order, said",
        _one(table(_OTHER_ORDER)),
        ("--columns", "time,open,close,high,low,volume"),
    ),
    Spelling("Coinbase's order", _one(table("s,low,high,open,close,volume")), refusal="300 rows"),
    Spelling(
        "Coinbase's order, said",
        _one(table("s,low,high,open,close,volume")),
        ("--columns", "time,low,high,open,close,volume"),
    ),
    Spelling("close first", _one(table("ms,close,high,low,open,volume")), refusal="swapped"),
    Spelling("3 columns", _one(table("ms,close,1")), refusal="3 columns without names"),
    Spelling("3 columns, said", _one(table("ms,close,1")), ("--columns", "open_time,close,-")),
    Spelling(
        "the names in another order than said",
        _one(table(_PLAIN, _NAMED)),
        ("--columns", "time,open,close,high,low,volume"),
        refusal="--columns says close, but the file calls it high",
    ),
    Spelling(
        "close twice", _one(table("ms,close,1", "open_time,close,Close")), refusal="are the same"
    ),
    Spelling(
        "open time twice", _one(table("ms,ms,close", "open_time,openTime,close")), refusal="same"
    ),
    # Times
    *(
        Spelling(f"times: {cell}", _timed(cell))
        for cell in (
            *("s", "us", "ns", "float ms", "float s"),
            *("iso", "iso t", "iso z", "iso utc", "iso zone"),
        )
    ),
    *(
        Spelling(f"{name}, said", _timed("ms", name), ("--time", "open"))
        for name in ("timestamp", "time", "date", "unix", "datetime")
    ),
    Spelling("timestamp", _timed("ms", "timestamp"), refusal=_OPEN_OR_CLOSE),
    Spelling("timestamp at the close", _timed("close ms", "timestamp")),
    Spelling("the last second", _timed("last second", "date")),
    Spelling("open time at the close", _timed("close ms"), refusal="open_time has close times"),
    Spelling("time at the end, said", _timed("next ms", "time"), ("--time", "close")),
    Spelling(
        "open said of a close", _timed("close ms", "time"), ("--time", "open"), "has close times"
    ),
    Spelling("a day without hours", _timed("day", "date"), ("--time", "open"), "no time of a 1h"),
    Spelling("6 columns at the close", _one(table("close ms,open,high,low,close,volume"))),
    Spelling("slashes", _one("open_time,close\n01/02/2025,1\n"), refusal="is not a time"),
    # Separators and what is around the rows
    Spelling("semicolons", _one(table(_PLAIN, _NAMED, ";"))),
    Spelling("tabs", _one(table(_PLAIN, _NAMED, "\t"))),
    Spelling("blanks after commas", _one(table(_PLAIN, _NAMED, ", "))),
    Spelling("CRLF and a BOM", _one("\ufeff" + table(_PLAIN, _NAMED, end="\r\n"))),
    Spelling("empty lines", _one(table(_PLAIN, _NAMED, end="\n\n"))),
    Spelling("quoted", _one(table("ms,quoted", '"open_time","close"'))),
    Spelling("a comma at each end", _one(table("ms,close,empty", "open_time,close"))),
    Spelling(
        "CryptoDataDownload",
        _one(
            table(
                f"ms,iso,slash,{_PRICES},1,1",
                "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT,tradecount",
                before="https://www.example.org\n",
            )
        ),
        ("--time", "open"),
    ),
    Spelling(
        "two different times",
        _one(table("ms,next ms,close", "unix,date,close")),
        ("--time", "open"),
        "unix and date are different times",
    ),
    Spelling("a banner and no names", _one("hello\n" + table(_PLAIN)), refusal="'hello' is n"),
    Spelling("sep=", _one(table(_PLAIN, _NAMED, ";", before="sep=;\n"))),
    Spelling("newest first", _one(table(_PLAIN, _NAMED, candles=_NEWEST_FIRST))),
    Spelling("newest first, no names", _one(table(_BINANCE, candles=_NEWEST_FIRST))),
    # Cells that are not used
    Spelling("volume empty", _one(table("ms,open,high,low,close,empty", _NAMED))),
    Spelling("open zero", _one(table("ms,zero,high,low,close,null", _NAMED))),
    # Flags and doubles
    *(
        Spelling(f"flag {name}", _one(table(f"ms,close,{cell}", f"open_time,close,{name}",
                                            candles=_UPDATES)))
        for name, cell in (("is_closed", "flag"), ("isClosed", "flag"), ("closed", "flag 1"),
                           ("confirm", "flag 1"), ("x", "flag"), ("is_final", "flag"),
                           ("complete", "flag"))
    ),
    Spelling(
        "two flags", _one(table("ms,close,true,false", "open_time,close,x,final")), (), "closed?"
    ),
    Spelling("each candle twice", _one(table(_PLAIN, _NAMED, candles=_TWICE))),
    Spelling(
        "two feeds", _one(table("close ms,close", "close_time,close", candles=_TWO_FEEDS))
    ),
    # Names of files, compression
    Spelling("gzip", {f"{NAME}.gz": gzip.compress(table(_PLAIN).encode())}),
    Spelling("zip", {"BTCUSDT-1h-2025-01.zip": zipped("BTCUSDT-1h-2025-01.csv", table(_BINANCE))}),
    Spelling("zip of any name", {"a.zip": zipped(NAME, table(_BINANCE))}),
    Spelling("another file in the zip", {"BTCUSDT-1h.zip": zipped("ETHUSDT-1h.csv", table(_PLAIN))},
             refusal="two different symbols"),
    Spelling("upper case", _one(table(_PLAIN), "BTCUSDT-1H.CSV")),
    Spelling("underscore", _one(table(_PLAIN), "BTCUSDT_1h.csv")),
    Spelling("dash", _one(table(_PLAIN), "BTC-USDT-1h.csv"), symbol="BTC-USDT"),
    Spelling("long interval", _one(table(_PLAIN), "BTCUSDT_1hour_2025-01-01.csv")),
    Spelling("no interval", _one(table(_PLAIN), "btc.csv"), refusal="--symbol and --interval"),
    Spelling(
        "said", _one(table(_PLAIN), "btc.csv"), ("--symbol", "BTCUSDT", "--interval", "1hour")
    ),
    Spelling(
        "two months",
        _one(table(_PLAIN, candles=CANDLES[:150]), "BTCUSDT-1h-2025-01.csv")
        | _one(table(_BINANCE, candles=CANDLES[140:]), "BTCUSDT-1h-2025-02.csv"),
    ),
    Spelling(
        "two spellings of the symbol",
        _one(table(_PLAIN, candles=CANDLES[:150]), "BTC-USDT-1h-2025-01.csv")
        | _one(table(_BINANCE, candles=CANDLES[150:]), "btcusdt-1h-2025-02.csv"),
        symbol="BTC-USDT",
    ),
    Spelling(
        "two intervals",
        _one(table(_PLAIN), NAME) | _one(table(_PLAIN, candles=CANDLES[::4]), "BTCUSDT-4h.csv"),
        refusal="all files must have the same candle interval",
    ),
    # Names and content
    Spelling("interval column", _one(table("ms,close,1H", "open_time,close,interval"))),
    Spelling("interval of 60", _one(table("ms,close,60", "open_time,close,timeframe"))),
    Spelling(
        "another interval", _one(table("ms,close,4h", "open_time,close,interval")),
        refusal="interval is 4h, but the name or --interval says 1h",
    ),
    Spelling("hours called minutes", _one(table(_PLAIN), "BTCUSDT-1m.csv"), refusal="1h apart"),
    Spelling("hours called days", _one(table(_PLAIN), "BTCUSDT-1d.csv"), refusal="1h apart"),
    Spelling("hours called 2h", _one(table(_PLAIN), "BTCUSDT-2h.csv"), refusal="1h apart"),
    Spelling(
        "hours called minutes, with both times",
        _one(table(_BINANCE), "BTCUSDT-1m.csv"), refusal="last 1h from open to close",
    ),
    Spelling(
        "another symbol", _one(table("ms,close,slash", "open_time,close,pair"), "ETHUSDT-1h.csv"),
        refusal="pair is BTC/USDT, but the name or --symbol says ETHUSDT",
    ),
]  # fmt: skip
