"""G7: the worker calculates and publishes; nothing places, changes or proposes an order."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest

from marketstate.schemas.market_state import (
    Features,
    HashFields,
    MarketStateRecord,
    RegimeProbs,
    StreamFields,
    TsComponents,
    Windows,
)
from marketstate.worker.keys import Keys
from marketstate.worker.settings import Settings, settings_from

ROOT = Path(__file__).parents[2]
SOURCES = [
    path for package in ("core", "schemas", "worker") for path in (ROOT / package).rglob("*.py")
]
SCRIPTS = sorted((ROOT / "worker/lua").glob("*.lua"))

# They may not occur in published fields, keys, settings or imports. Elsewhere in the code, some of
# them mean something else: an order of time, an entry of a stream.
TRADING = {
    *("buy", "buys", "sell", "sells", "trade", "trades", "trading", "trader"),
    *("order", "orders", "broker", "brokerage", "leverage", "portfolio", "pnl", "stoploss"),
    *("takeprofit", "liquidation", "liquidate", "hedge", "entryprice", "qty", "quantity"),
    *("position", "positions", "side", "signal", "signals", "margin", "long", "short"),
    *("action", "recommendation", "advice", "target", "entry", "exit", "bid", "ask"),
}
OF_OTHERS = {"AskError", "ExitStack"}
"""Names of redis-py and the standard library; neither asks a price nor leaves a market."""
CLIENTS = {"ccxt", "binance", "alpaca", "ib_insync", "ibapi", "kucoin", "krakenex", "pybit"}


def words(name: str) -> set[str]:
    """`entry_price`, `entryPrice` and `entry-price` have the words entry, price and entryprice."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return {part.lower() for part in parts} | {"".join(parts).lower()}


@cache
def imported_by(path: Path) -> frozenset[str]:
    return frozenset(imported(path.read_text()))


def imported(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (alias.name for alias in node.names)


def test_the_words_are_found_in_names_of_any_spelling() -> None:
    for name in ("place_orders", "placeOrders", "PLACE_ORDERS", "orders", "Orders"):
        assert words(name) & TRADING == {"orders"}
    assert words("border_size") & TRADING == set()


def test_no_import_is_a_word_of_trading() -> None:
    """G7"""
    of_trading = TRADING - {"signal", "entry"}
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in SOURCES
        for name in imported_by(path) - OF_OTHERS
        if words(name) & of_trading
    }
    assert found == set()


def test_no_client_of_an_exchange_is_imported_or_depended_on() -> None:
    """G7"""
    found = {name.partition(".")[0] for path in SOURCES for name in imported_by(path)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    depended = {re.split(r"[^\w-]", each)[0] for each in project["dependencies"] + extras}
    assert {"redis", "numpy"} <= found & depended
    assert (found | depended) & CLIENTS == set()
    assert found & {"urllib.request", "http", "httpx", "requests", "aiohttp", "websockets"} == set()


PUBLISHED_STRUCTS: list[type[msgspec.Struct]] = [
    *(HashFields, StreamFields, MarketStateRecord),
    *(Features, RegimeProbs, TsComponents, Windows),
]


@pytest.mark.parametrize("struct", PUBLISHED_STRUCTS)
def test_no_published_field_is_a_word_of_trading(struct: type[msgspec.Struct]) -> None:
    """G7"""
    assert len(struct.__struct_fields__) > 0
    assert [name for name in struct.__struct_fields__ if words(name) & TRADING] == []


def test_no_key_and_no_setting_is_a_word_of_trading() -> None:
    """G7"""
    keys: Keys = settings_from({}).keys
    names = [
        *(keys.input, keys.output_stream, keys.dead_stream, keys.meta, keys.members, keys.epoch),
        *(
            keys.counters,
            keys.lease(0),
            keys.marks(0),
            keys.window("BTCUSDT"),
            keys.state("BTCUSDT"),
        ),
    ]
    assert [name for name in (*names, *Settings.__struct_fields__) if words(name) & TRADING] == []


def test_only_the_commit_adds_to_an_output_and_nothing_goes_to_a_channel() -> None:
    """G7: outputs leave the worker as commands of a commit, which one module lists. Scripts only
    wake other workers, except those that feed recorded or gathered entries to an input stream.
    """
    commands = {path.name: set(_commands(path.read_text())) for path in SCRIPTS}
    adding = [name for name, used in commands.items() if "XADD" in used]
    assert adding == ["bridge_write.lua", "carry_out.lua", "feed.lua", "gather_write.lua"]
    assert [path.name for path in SOURCES if '"XADD"' in path.read_text()] == ["plan.py"]
    assert [name for name, used in commands.items() if used & {"PUBLISH", "SPUBLISH"}] == []


def _commands(source: str) -> Iterator[str]:
    yield from re.findall(r"redis\.p?call\(\s*'(\w+)'(?!, (?:notices|handed_over))", source)
    yield from re.findall(r"(\w+) = PLAIN", source)
