"""The candle in each of its input forms."""

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketstate.schemas.candle import (
    MAX_AHEAD_MS,
    Candle,
    CandleRejected,
    Update,
    decode_candle,
    encode_envelope,
)
from marketstate.schemas.candle_forms import MAX_DOCUMENT_BYTES, symbol_at_first_sight
from marketstate.schemas.closed import FLAGS
from tests.fault.fuzz.entries import odd_entry
from tests.support.candles import as_cryptofeed

T = 1_700_000_040_000 - 1
FULL = Candle(
    symbol="BTCUSDT",
    interval="1m",
    open=36_999.5,
    high=37_010.0,
    low=36_990.25,
    close=37_001.125,
    volume=12.5,
    open_time=T - 59_999,
    close_time=T,
    is_closed=True,
)
PLAIN: dict[str, Any] = {"symbol": "BTCUSDT", "close": 37_001.125, "close_time": T}
KLINE = {
    "e": "kline",
    "E": T + 5,
    "s": "BTCUSDT",
    "k": {
        **{"t": T - 59_999, "T": T, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200},
        **{"o": "36999.50", "c": "37001.12500000", "h": "37010.0", "l": "36990.25"},
        **{"v": "12.5", "n": 101, "x": True, "q": "1.0", "V": "5", "Q": "0.5", "B": "0"},
    },
}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def bytes_of(fields: Mapping[str, str | bytes]) -> dict[bytes, bytes]:
    return {
        name.encode(): value.encode() if isinstance(value, str) else value
        for name, value in fields.items()
    }


def decode(fields: Mapping[bytes, bytes]) -> Candle:
    return decode_candle(fields, entry_ms=T + 700)


def with_payload(**changes: object) -> dict[bytes, bytes]:
    return {b"payload": as_json(PLAIN | changes)}


def flat(**changes: bytes) -> dict[bytes, bytes]:
    fields = {b"symbol": b"BTCUSDT", b"close": b"37001.125", b"close_time": b"%d" % T}
    return fields | {name.encode(): value for name, value in changes.items()}


ENVELOPE = bytes_of(encode_envelope(FULL, source="upstream"))
BUILTINS = msgspec.to_builtins(FULL) | {"is_closed": True}
FORMS: dict[str, dict[bytes, bytes]] = {
    "the upstream publisher's envelope": ENVELOPE,
    "an envelope without an event type": {b"payload": ENVELOPE[b"payload"]},
    "flat fields": bytes_of({name: str(value) for name, value in BUILTINS.items()}),
    "cryptofeed": bytes_of(as_cryptofeed(FULL)),
    "flat fields with unknown ones": bytes_of(
        {name: str(value) for name, value in BUILTINS.items()}
    )
    | {b"trace_id": b"", b"note": "é".encode()},
    "a kline event in data": {b"data": as_json(KLINE)},
    "a kline event in payload": {b"payload": as_json(KLINE)},
    "a kline event in the combined-stream wrapper": {
        b"data": as_json({"stream": "btcusdt@kline_1m", "data": KLINE})
    },
    "our Candle as JSON": {b"data": msgspec.json.encode(FULL)},
    "our Candle as JSON in a wrapper": {b"data": as_json({"data": BUILTINS})},
    "our Candle as MessagePack": {b"data": msgspec.msgpack.encode(FULL)},
    "payload next to a data field that is ignored": {
        b"data": b"nobody reads this",
        b"payload": msgspec.json.encode(FULL),
    },
    "JSON with leading whitespace": {b"payload": b" \r\n\t" + msgspec.json.encode(FULL)},
}


@pytest.mark.parametrize("fields", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_candle(fields: dict[bytes, bytes]) -> None:
    assert decode(fields) == FULL


VALUES: dict[bool, list[Any]] = {
    True: [True, 1, "true", "True", "TRUE", "1"],
    False: [False, 0, "false", "False", "FALSE", "0"],
}


@pytest.mark.parametrize("is_closed", VALUES)
@pytest.mark.parametrize("flag", FLAGS)
def test_a_candle_has_closed_if_its_flag_says_so_under_any_of_its_names(
    flag: str, is_closed: bool
) -> None:
    """As JSON, as MessagePack and as a field, written long before the candle closes or after."""
    for value in VALUES[is_closed]:
        candle = PLAIN | {flag: value}
        for fields in (
            {b"payload": as_json(candle)},
            {b"data": as_json({"stream": "s", "data": candle})},
            {b"data": msgspec.msgpack.encode(candle)},
            flat(**{flag: str(value).encode()}),
        ):
            found = decode_candle(fields, T - 30_000)
            assert (type(found), found.is_closed) == (Candle, is_closed), (fields, value)


SAYS_NOTHING: list[tuple[str, list[Any]]] = [
    *((flag, [None]) for flag in FLAGS),
    ("x", ["", "12.5", "maybe", 2, -1, 0.0, 1.0]),
]


@pytest.mark.parametrize(("flag", "values"), SAYS_NOTHING)
def test_what_is_null_or_an_x_that_is_no_flag_says_nothing(flag: str, values: list[Any]) -> None:
    """A feed may have an `x` that means something else. Then the time of the entry decides."""
    for value in values:
        candle = PLAIN | {flag: value}
        forms = [{b"payload": as_json(candle)}, {b"data": msgspec.msgpack.encode(candle)}]
        if value is not None:
            forms.append(flat(**{flag: str(value).encode()}))
        for fields in forms:
            assert type(decode_candle(fields, T)) is Candle
            assert type(decode_candle(fields, T - 30_000)) is Update
            other = fields | flat(confirm=b"0") if b"symbol" in fields else None
            if other:
                assert type(decode_candle(other, T - 30_000)) is Candle


def test_an_x_in_json_may_be_anything() -> None:
    for value in ([1, 2], {"y": True}, "true story"):
        assert decode(with_payload(x=value)) == decode(with_payload())
    with pytest.raises(CandleRejected, match="is not a candle"):
        decode({b"data": msgspec.msgpack.encode(PLAIN | {"x": [1]})})


def test_the_flag_of_a_kline_event_is_x() -> None:
    event = KLINE | {"k": KLINE["k"] | {"x": False}}  # type: ignore[operator]
    assert decode({b"data": as_json(event)}).is_closed is False


def test_flags_that_agree_are_one_and_flags_that_contradict_each_other_are_refused() -> None:
    assert decode(with_payload(closed=True, confirm="1", is_closed=1)).is_closed
    for fields in (with_payload(confirm=False, is_closed=True), flat(x=b"0", final=b"TRUE")):
        with pytest.raises(CandleRejected, match="says that the candle has closed, "):
            decode(fields)


MINUTE_MS, HOUR_MS = 60_000, 3_600_000


@pytest.mark.parametrize(
    ("interval_ms", "max_ahead_ms", "ahead_ms", "is_update"),
    [
        (MINUTE_MS, 60_000, 3_000, False),
        (MINUTE_MS, 60_000, 3_001, True),
        (MINUTE_MS, 60_000, 120_000, True),
        (HOUR_MS, 60_000, 60_000, False),
        (HOUR_MS, 60_000, 60_001, True),
        (HOUR_MS, 60_000, HOUR_MS + 60_000, True),
        (HOUR_MS, 0, 1, True),
        (HOUR_MS, HOUR_MS, HOUR_MS // 20, False),
    ],
)
def test_a_candle_without_a_flag_that_is_written_before_it_closes_is_an_update(
    interval_ms: int, max_ahead_ms: int, ahead_ms: int, is_update: bool
) -> None:
    for fields in (with_payload(), flat()):
        found = decode_candle(fields, T - ahead_ms, max_ahead_ms, interval_ms)
        assert (isinstance(found, Update), found.is_closed) == (is_update, not is_update)
        flagged = fields | flat(confirm=b"1") if b"symbol" in fields else with_payload(x=True)
        if ahead_ms <= max_ahead_ms:
            assert decode_candle(flagged, T - ahead_ms, max_ahead_ms, interval_ms).is_closed


def test_how_early_an_update_is_goes_by_the_interval_that_it_names() -> None:
    hourly = with_payload(interval="ONE_HOUR")
    for of_group_ms in (MINUTE_MS, HOUR_MS):
        for ahead_ms, found in ((60_000, Candle), (60_001, Update), (HOUR_MS, Update)):
            decoded = decode_candle(hourly, T - ahead_ms, 60_000, of_group_ms)
            assert type(decoded) is found, (of_group_ms, ahead_ms)


def test_a_candle_without_a_flag_that_is_more_than_its_interval_ahead_has_a_wrong_time() -> None:
    """G9: unless it is of another interval, and concerns nobody."""
    with pytest.raises(CandleRejected, match=r"is 120 s after the entry was written"):
        decode_candle(with_payload(), T - 120_001, 60_000, MINUTE_MS)
    for interval in ("1h", "ONE_HOUR", "what?"):
        fields = with_payload(interval=interval)
        assert isinstance(decode_candle(fields, T - 120_001, 60_000, MINUTE_MS), Update)
    with pytest.raises(CandleRejected, match=r"is 120 s after the entry was written"):
        decode_candle(with_payload(interval="60s"), T - 120_001, 60_000, MINUTE_MS)


def test_an_entry_that_was_written_again_says_when_it_was_written_first() -> None:
    """G2: a recording that is fed again gives the same candles."""
    update = with_payload() | {b"written_ms": b"%d" % (T - 30_000)}
    assert isinstance(decode_candle(update, T + 86_400_000), Update)
    assert decode_candle(with_payload() | {b"written_ms": b""}, T + 86_400_000).is_closed
    late = with_payload() | {b"written_ms": b"%d" % (T + 3_600_000)}
    with pytest.raises(CandleRejected, match=r"written_ms .* is 3,540 s after the time of the"):
        decode_candle(late, T + 60_000)
    assert decode_candle(late, T + 3_540_000).is_closed
    assert decode_candle(late, 0).is_closed
    with pytest.raises(CandleRejected, match="written_ms is 'noon'; expected a time in millis"):
        decode_candle(with_payload() | {b"written_ms": b"noon"}, T)


UNREAD: dict[str, list[Any]] = {
    "open": [0, 0.0, -1, "", "n/a", "NaN", "inf", None, True, [1], {"a": 1}],
    "high": ["-2", "1e999"],
    "low": [0],
    "volume": ["", "-", -1, None],
    "open_time": ["", "2025-01-01", 1.5, None],
}
SCALARS = (int, float, str, bool, type(None))


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_beside_a_good_close_is_left_out(name: str) -> None:
    for value in UNREAD[name]:
        candle = PLAIN | {name: value}
        forms = [{b"payload": as_json(candle)}, flat(**{name: str(value).encode()})]
        if isinstance(value, SCALARS):
            forms.append({b"data": msgspec.msgpack.encode(candle)})
        for fields in forms:
            found = decode(fields)
            assert (found.symbol, found.close, found.close_time) == ("BTCUSDT", 37_001.125, T)


@pytest.mark.parametrize("name", "tohlv")
@pytest.mark.parametrize("value", ["", "n/a", 0, None, []])
def test_what_cannot_be_read_beside_the_close_of_a_kline_event_is_left_out(
    name: str, value: object
) -> None:
    event = KLINE | {"k": KLINE["k"] | {name: value}}  # type: ignore[operator]
    assert decode({b"data": as_json(event)}).close == 37_001.125


def test_messagepack_gives_a_plain_candle() -> None:
    assert Candle is type(decode({b"data": msgspec.msgpack.encode(FULL)}))


def test_numbers_may_be_strings_as_exchanges_send_them() -> None:
    assert decode(with_payload(close="37001.125", close_time=str(T))) == Candle(**PLAIN)


def test_a_document_of_the_largest_size_is_read() -> None:
    document = as_json(PLAIN | {"note": ""})
    padded = document[:-2] + b"a" * (MAX_DOCUMENT_BYTES - len(document)) + b'"}'
    assert len(padded) == MAX_DOCUMENT_BYTES
    assert decode({b"payload": padded}) == Candle(**PLAIN)


@pytest.mark.parametrize("max_ahead_ms", [MAX_AHEAD_MS, 0, 3_600_000])
def test_a_closed_candle_may_be_ahead_of_its_entry_by_the_error_of_a_clock(
    max_ahead_ms: int,
) -> None:
    """G9: no more, or one bad time would make all later candles of its symbol late."""
    ahead = with_payload(close_time=T + max_ahead_ms, is_closed=True)
    assert decode_candle(ahead, T, max_ahead_ms).close_time == T + max_ahead_ms
    with pytest.raises(CandleRejected, match="s after the entry was written; a closed candle"):
        decode_candle(ahead, T - 1, max_ahead_ms)


def test_a_candle_that_is_not_closed_ends_after_its_entry_was_written() -> None:
    weekly = with_payload(interval="1w", is_closed=False, close_time=T + 604_800_000)
    assert decode_candle(weekly, T).close_time == T + 604_800_000


@pytest.mark.parametrize("entry_ms", [0, 5, 2**64 - 1])
def test_an_entry_id_that_is_not_a_time_does_not_limit_the_close_time(entry_ms: int) -> None:
    assert decode_candle(with_payload(), entry_ms).close_time == T


PRICES = st.floats(min_value=5e-324, allow_infinity=False)
CANDLES = st.builds(
    Candle,
    symbol=st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=64),
    close=PRICES,
    close_time=st.integers(946_684_800_000, T),
    interval=st.none() | st.sampled_from(["1m", "4h"]),
    open=st.none() | PRICES,
    high=st.none() | PRICES,
    low=st.none() | PRICES,
    volume=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    open_time=st.none() | st.integers(0, T),
    is_closed=st.booleans(),
)


@given(CANDLES)
def test_an_envelope_gives_back_its_candle(candle: Candle) -> None:
    assert decode(bytes_of(encode_envelope(candle, source="test"))) == candle


def test_the_envelope_has_the_fields_of_the_upstream_publisher() -> None:
    envelope = encode_envelope(FULL, source="test")
    names = ["event_type", "payload", "correlation_id", "timestamp", "source", "trace_id"]
    assert list(envelope) == names
    payload = json.loads(envelope["payload"])
    wanted = "symbol interval open high low close volume open_time close_time is_closed timestamp"
    assert set(payload) == set(wanted.split())
    assert next(iter(payload)) == "symbol", "route.lua's fast pattern looks for it there"
    assert envelope["timestamp"] == "2023-11-14T22:13:59.999000+00:00"


def test_the_symbol_that_is_seen_at_first_sight_is_that_of_the_candle() -> None:
    """The shares of `marketstate history` go by it."""
    rng, seen = Random(5), 0
    for number in range(4_000):
        strings = odd_entry(rng, number % 30)
        fields = dict(zip(strings[::2], strings[1::2], strict=True))
        try:
            found = decode_candle(fields, 0)
        except CandleRejected:
            continue
        symbol = symbol_at_first_sight(fields)
        assert symbol in (None, found.symbol.encode())
        seen += symbol is not None
    assert seen > 500
