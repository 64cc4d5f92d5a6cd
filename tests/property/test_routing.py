"""Routing inside Redis finds the same symbol as the decoder, whatever the entry looks like."""

import json
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketstate.schemas.candle import (
    Candle,
    CandleRejected,
    decode_candle,
)
from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES
from marketstate.worker.engine.changes import Entry
from marketstate.worker.engine.group import join
from marketstate.worker.engine.pipeline import Pipeline
from marketstate.worker.engine.routing import Router
from marketstate.worker.keys import INTAKE, shard_name, shard_of
from marketstate.worker.settings import PREFIX, Settings, settings_from
from marketstate.worker.store.scripts import Scripts
from tests.support.feeding import T0, candle_entry

# Many shards, so that two symbols rarely share one by chance.
SETTINGS = settings_from({"MARKETSTATE_SHARDS": "256"})
Fields = dict[bytes, bytes]
with_redis = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def shards_of(
    entries: list[Fields], client: redis.Redis, settings: Settings = SETTINGS
) -> list[str]:
    """The consumer that each entry is routed to."""
    client.flushall()
    scripts = Scripts(client, settings.keys)
    join(scripts, settings)
    stream: Any = settings.keys.input
    with client.pipeline() as writes:
        for number, fields in enumerate(entries, start=1):
            writes.xadd(stream, fields, id=f"{number}-0")  # type: ignore[arg-type]
        writes.execute()
    Router(settings, scripts).route([], most=2_000)
    pending: Any = client.xpending_range(stream, settings.keys.group, "-", "+", len(entries) + 1)
    assert [row["message_id"] for row in pending] == [
        b"%d-0" % (i + 1) for i in range(len(entries))
    ]
    return [row["consumer"].decode() for row in pending]


def misrouted(
    entries: list[Fields], client: redis.Redis, settings: Settings = SETTINGS
) -> list[tuple[Fields, str, str]]:
    """The entries that the decoder accepts but that were routed to another shard."""
    found = []
    for number, (fields, shard) in enumerate(
        zip(entries, shards_of(entries, client, settings), strict=True), start=1
    ):
        assert shard != INTAKE
        try:
            symbol = decode_candle(fields, number).symbol
        except CandleRejected:
            continue
        if shard != shard_name(settings.shard_of(symbol)):
            found.append((fields, symbol, shard))
    return found


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SYMBOLS = st.one_of(
    st.sampled_from(["BTCUSDT", "ETHUSDT", "1000SHIBUSDT", "BTC-27", 'A"B', "A\\B", "ΞTH", "💰"]),
    st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=64),
    TEXT,
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
# Names that have a meaning at the top level have none in nested values.
INNER_NAMES = TEXT | st.sampled_from(["symbol", "data", "e", "s", "k", "close"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER_NAMES, inner, max_size=3),
    max_leaves=6,
)
# With a plus sign before them, names are never reserved ones.
EXTRAS = st.dictionaries(
    st.sampled_from(["y", "s", "k", "timestamp", "symbol "]) | TEXT.map("+".__add__),
    VALUES,
    max_size=4,
)
CLOSES = st.floats(1e-6, 1e9) | st.integers(1, 10**6) | st.sampled_from(["1.5", "37000.00000000"])
CLOSE_TIMES = st.just(T0) | st.just(str(T0)) | st.just(float(T0))


@st.composite
def plain_candles(draw: st.DrawFn) -> dict[str, Any]:
    """A candle with unknown fields, in any order."""
    candle = {"symbol": draw(SYMBOLS), "close": draw(CLOSES), "close_time": draw(CLOSE_TIMES)}
    return dict(draw(st.permutations([*(draw(EXTRAS) | candle).items()])))


@st.composite
def kline_events(draw: st.DrawFn) -> dict[str, Any]:
    kline = {"t": T0 - 59_999, "T": T0, "i": "1m", "x": True, "v": "1", "s": draw(TEXT)}
    kline |= {name: str(draw(st.floats(0.5, 1e6))) for name in "ohlc"}
    event = draw(EXTRAS) | {"e": "kline", "s": draw(SYMBOLS), "k": kline}
    return dict(draw(st.permutations([*event.items()])))


@st.composite
def wrapped(draw: st.DrawFn) -> dict[str, Any]:
    """A document in the combined-stream wrapper, whose own fields must not name a symbol."""
    wrapper = {"stream": "btcusdt@kline_1m"} if draw(st.booleans()) else {}
    inner = draw(plain_candles() | kline_events())
    return draw(st.sampled_from([wrapper | {"data": inner}, {"data": inner} | wrapper]))


DOCUMENTS = plain_candles() | kline_events() | wrapped()
BLANKS = st.text(" \t\r\n", max_size=2)


@st.composite
def json_text(draw: st.DrawFn, documents: st.SearchStrategy[Any] = DOCUMENTS) -> bytes:
    """JSON in the styles of different writers: with spaces, with escapes, or neither."""
    text = json.dumps(
        draw(documents),
        ensure_ascii=draw(st.booleans()),
        separators=(draw(BLANKS) + "," + draw(BLANKS), draw(BLANKS) + ":" + draw(BLANKS)),
        indent=draw(st.sampled_from([None, None, 2])),
    )
    if draw(st.booleans()):
        text = text.replace("/", "\\/")
    if draw(st.booleans()):  # any letter may be written as an escape
        text = text.replace("USDT", "\\u0055SDT")
    return (draw(BLANKS) + text + draw(BLANKS)).encode()


@st.composite
def flat(draw: st.DrawFn) -> Fields:
    extras = draw(st.dictionaries(TEXT, TEXT, max_size=3))
    fields = extras | {"symbol": draw(SYMBOLS), "close": "1.5", "close_time": str(T0)}
    return {name.encode(): value.encode() for name, value in fields.items()}


def in_field(documents: st.SearchStrategy[bytes]) -> st.SearchStrategy[Fields]:
    """As payload, as data, or as payload next to a data field that is ignored."""
    beside = st.sampled_from([{}, {b"symbol": b"OTHER"}, {b"trace_id": b""}])
    alone = st.builds(
        lambda name, raw: {name: raw}, st.sampled_from([b"payload", b"data"]), documents
    )
    both = documents.map(lambda raw: {b"data": b'{"symbol": "OTHER"}', b"payload": raw})
    return st.builds(lambda rest, fields: rest | fields, beside, alone | both)


def spoilt(documents: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """With a few bytes changed, which may or may not leave a valid document."""
    return st.builds(
        lambda raw, at, piece, length: raw[:at] + piece + raw[at + length :],
        documents,
        st.integers(0, 200),
        st.binary(max_size=3) | st.sampled_from([b'"', b"\\", b"{", b"\\u0000", b"\xc3"]),
        st.integers(0, 3),
    )


@given(entries=st.lists(in_field(json_text()), min_size=5, max_size=40))
@with_redis
def test_json_goes_to_the_shard_of_its_symbol(client: redis.Redis, entries: list[Fields]) -> None:
    """G1"""
    assert misrouted(entries, client) == []


OWN: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"symbol": SYMBOLS, "close": st.floats(1e-9, 1e12), "close_time": st.just(T0)},
    optional={
        "interval": st.none() | TEXT,
        "open": st.none() | st.floats(1e-9, 1e12),
        "volume": st.none() | st.floats() | st.integers(0, 2**63),
        "open_time": st.none() | st.integers(-(2**63), 2**64 - 1),
        "is_closed": st.booleans(),
        "high": st.text(max_size=3) | st.booleans(),
        "y": st.none(),
    },
).flatmap(lambda fields: st.permutations(list(fields.items())).map(dict))


@given(entries=st.lists(in_field(OWN.map(msgspec.msgpack.encode)), min_size=5, max_size=40))
@with_redis
def test_messagepack_goes_to_the_shard_of_its_symbol(
    client: redis.Redis, entries: list[Fields]
) -> None:
    """G1"""
    assert misrouted(entries, client) == []


@given(entries=st.lists(flat(), min_size=5, max_size=40))
@with_redis
def test_flat_fields_go_to_the_shard_of_their_symbol(
    client: redis.Redis, entries: list[Fields]
) -> None:
    """G1"""
    assert misrouted(entries, client) == []


@st.composite
def of_cryptofeed(draw: st.DrawFn) -> Fields:
    fields = {"symbol": draw(SYMBOLS), "close": "1.5", "interval": "1m", "closed": "True"}
    fields |= {"start": str((T0 - 59_999) / 1_000), "stop": str(T0 / 1_000)}
    extras = draw(st.dictionaries(TEXT, TEXT, max_size=3))
    return {name.encode(): value.encode() for name, value in (extras | fields).items()}


@given(
    entries=st.lists(flat() | in_field(json_text()), min_size=5, max_size=40),
    partitions=st.integers(1, 256),
    shards=st.integers(1, 256),
)
@with_redis
def test_in_a_partition_the_shard_is_the_one_that_the_worker_expects(
    client: redis.Redis, entries: list[Fields], partitions: int, shards: int
) -> None:
    """G1"""
    given = {f"{PREFIX}PARTITIONS": str(partitions), f"{PREFIX}SHARDS": str(shards)}
    assert misrouted(entries, client, settings_from(given).of_partition(partitions - 1)) == []


@given(entries=st.lists(of_cryptofeed(), min_size=5, max_size=40))
@with_redis
def test_cryptofeeds_candles_go_to_the_shard_of_their_symbol(
    client: redis.Redis, entries: list[Fields]
) -> None:
    """G1"""
    assert misrouted(entries, client) == []


@given(
    entries=st.lists(
        in_field(spoilt(json_text()) | spoilt(OWN.map(msgspec.msgpack.encode))),
        min_size=5,
        max_size=40,
    )
)
@with_redis
def test_a_damaged_document_goes_to_the_shard_of_the_symbol_that_is_left(
    client: redis.Redis, entries: list[Fields]
) -> None:
    """G1"""
    assert misrouted(entries, client) == []


@given(symbols=st.lists(SYMBOLS, min_size=5, max_size=40))
@with_redis
def test_the_envelope_goes_to_the_shard_of_its_symbol(
    client: redis.Redis, symbols: list[str]
) -> None:
    """G1"""
    entries = [dict(candle_entry(1, symbol, T0).fields) for symbol in symbols]
    assert misrouted(entries, client) == []


TIMES = f'"close": 1.5, "close_time": {T0}'
PLAIN = {"symbol": "BTCUSDT", "close": 1.5, "close_time": T0}


@pytest.mark.parametrize(
    "document",
    [
        f'{{"symbol": "AAA", "symbol": "BTCUSDT", {TIMES}}}',
        f'{{"symbol": "AAA", {TIMES}, "symbol": "BTCUSDT"}}',
        f'{{{TIMES}, "symbol": "AAA", "symbol": "BTCUSDT"}}',
        f'{{"symbol": "AAA", "data": {{"symbol": "BTCUSDT", {TIMES}}}}}',
        f'{{"data": {{"symbol": "AAA"}}, "data": {{"symbol": "BTCUSDT", {TIMES}}}}}',
    ],
)
def test_a_document_that_names_two_symbols_is_never_applied_on_the_wrong_shard(
    client: redis.Redis, document: str
) -> None:
    """G1, G5: router and decoder may take different symbols; then it is a dead letter."""
    fields = {b"payload": document.encode()}
    [consumer] = shards_of([fields], client)
    shard = next(shard for shard in range(256) if shard_name(shard) == consumer)
    [reading] = Pipeline(SETTINGS, (0, 0)).read([Entry(shard, b"1-0", fields)])
    if isinstance(reading.found, Candle):
        assert shard_of(reading.found.symbol, 256) == shard
    else:
        assert "more than one symbol" in str(reading.found)


ONLY_IN_MESSAGEPACK: dict[str, object] = {
    "bytes": b"\x00\x01",
    "an extension": msgspec.msgpack.Ext(5, b"x"),
    "nil as a name": {None: 1},
    "NaN as a name": {float("nan"): 1},
    "bytes as a name": {b"a": 1},
}


@pytest.mark.parametrize("name", ["x", "interval", "open", "is_closed"])
@pytest.mark.parametrize("value", ONLY_IN_MESSAGEPACK.values(), ids=ONLY_IN_MESSAGEPACK)
def test_messagepack_that_lua_cannot_read_is_refused(
    client: redis.Redis, name: str, value: object
) -> None:
    """G1, G5: the result for an entry must not depend on the shard of its symbol."""
    raw = msgspec.msgpack.encode(PLAIN | {name: value})
    assert misrouted([{b"data": raw}], client) == []


def test_a_document_of_the_largest_size_is_routed(client: redis.Redis) -> None:
    raw = json.dumps({"y": ""} | PLAIN).encode()
    padded = raw[:7] + b"a" * (MAX_DOCUMENT_BYTES - len(raw)) + raw[7:]
    assert misrouted([{b"payload": padded}, {b"payload": padded + b" "}], client) == []


@pytest.mark.parametrize("depth", [15, 100, 250])
def test_the_router_reads_the_same_nesting_as_the_decoder(client: redis.Redis, depth: int) -> None:
    raw = b'{"y": ' + b"[" * depth + b"]" * depth + b"," + json.dumps(PLAIN).encode()[1:]
    assert decode_candle({b"data": raw}, T0).close_time == T0
    assert misrouted([{b"data": raw}], client) == []


def test_what_has_no_symbol_goes_to_shard_0(client: redis.Redis) -> None:
    """G5: its worker makes it a dead letter."""
    entries = [{b"payload": b"hello"}, {b"data": b"\x81"}, {b"x": b"y"}, {b"payload": b"[1]"}]
    assert shards_of(entries, client) == [shard_name(0)] * 4


def test_a_misrouted_entry_would_be_noticed(client: redis.Redis) -> None:
    """A test of the comparison itself."""
    fields = dict(candle_entry(1, "BTCUSDT", T0).fields)
    assert [shard_name(shard_of("BTCUSDT", 256))] == shards_of([fields], client)
    assert shards_of([fields], client) != [shard_name(shard_of("ETHUSDT", 256))]
