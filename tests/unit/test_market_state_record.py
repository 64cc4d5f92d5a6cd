"""The published record and its text fields: exact to the character and to the last bit."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketstate.schemas.market_state import (
    SCHEMA_VERSION,
    Features,
    HashFields,
    MarketStateRecord,
    RegimeProbs,
    StreamFields,
    TsComponents,
    UnknownRecord,
    UnknownSchema,
    Windows,
    decode_market_state,
    encode_record,
    hash_fields,
    journal_line,
    record_key,
    stream_fields,
)
from marketstate.worker.store import scripts

RECORD = MarketStateRecord(
    symbol="BTCUSDT",
    interval="1m",
    source="candles",
    close_time_ms=1_700_000_039_999,
    close=37_001.125,
    sigma=0.0113980912,
    mu=0.002797535,
    ts=0.24543908,
    regime="chop",
    regime_probs=RegimeProbs(trend=0.3719061, mr=0.0758239, chop=0.5522700),
    features=Features(dp=0.5568627, vr=1.0071891, spike_proxy=1.1234567),
    windows=Windows(returns_n=299, trend_windows=[64, 128, 256], regime_window=256),
    ts_components=TsComponents(mu_abs=0.002797535, sigma_used=0.0113980912),
    buffer_size=300,
    theta_hash="0123456789abcdef",
)
HASH = msgspec.structs.asdict(hash_fields(RECORD))
STREAM = msgspec.structs.asdict(stream_fields(RECORD, encode_record(RECORD)))


SPELL_OUT = (Path(scripts.__file__).parents[1] / "lua" / "spell_out.lua").read_text()


@pytest.mark.parametrize(("command", "struct"), [("HSET", HashFields), ("XADD", StreamFields)])
def test_the_script_that_writes_the_fields_has_their_names_in_order(
    command: str, struct: type[msgspec.Struct]
) -> None:
    """G2: a plan has the values alone."""
    words = re.search(rf"'{command}', key,([^}}]*)}}", SPELL_OUT)
    assert words
    assert tuple(re.findall(r"'(\w+)', (?:one|record)\b", words[1])) == struct.__struct_fields__


def test_the_hash_has_every_field_in_its_format() -> None:
    expected = {
        "sigma": "0.01139809",
        "mu": "0.00279753",
        "ts": "0.245439",
        "p_trend": "0.371906",
        "p_mr": "0.075824",
        "p_chop": "0.552270",
        "dp": "0.556863",
        "vr": "1.007189",
        "spike_proxy": "1.123457",
        "ts_timestamp": "1700000039",
        "buffer_size": "300",
    }
    assert list(HASH.items()) == list(expected.items())


def test_the_stream_entry_has_every_field_in_its_format() -> None:
    expected = {
        "symbol": "BTCUSDT",
        "ts": "0.245439",
        "sigma": "0.01139809",
        "mu": "0.00279753",
        "regime": "chop",
        "timestamp": "1700000039",
        "record": encode_record(RECORD),
    }
    assert dict(STREAM) == expected


def test_the_journal_line_is_exactly_as_specified() -> None:
    expected = "BTCUSDT: σ=0.011398 μ=0.002798 TS=0.2454 regime=chop(55.2%) buffer=300"
    assert journal_line(RECORD) == expected


def test_the_journal_line_says_how_many_candles_are_missing_if_any_are() -> None:
    line = journal_line(msgspec.structs.replace(RECORD, missing=12))
    assert line == f"{journal_line(RECORD)} missing=12"


def test_the_journal_line_names_an_interval_that_is_not_that_of_the_candles() -> None:
    assert journal_line(RECORD, RECORD.interval) == journal_line(RECORD)
    longer = msgspec.structs.replace(RECORD, interval="5m")
    usual = journal_line(longer).removeprefix(RECORD.symbol)
    assert journal_line(longer, "1m") == f"{RECORD.symbol} 5m{usual}"


def test_a_record_from_before_missing_candles_were_counted_is_read() -> None:
    old = encode_record(RECORD).replace(',"missing":0', "")
    assert '"missing"' not in old
    assert decode_market_state({"record": old}) == RECORD


@pytest.mark.parametrize(("regime", "shown"), [("trend", "37.2%"), ("mr", "7.6%")])
def test_the_journal_line_shows_the_probability_of_its_regime(regime: str, shown: str) -> None:
    line = journal_line(msgspec.structs.replace(RECORD, regime=regime))
    assert f"regime={regime}({shown})" in line


def test_small_and_large_numbers_are_never_written_with_an_exponent() -> None:
    record = msgspec.structs.replace(RECORD, sigma=1e-6, mu=-3e-7, ts=123456.7891234)
    fields = hash_fields(record)
    assert (fields.sigma, fields.mu, fields.ts) == ("0.00000100", "-0.00000030", "123456.789123")


def as_bytes(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def test_one_call_decodes_fields_as_text_or_as_bytes() -> None:
    assert decode_market_state(STREAM) == RECORD
    assert decode_market_state(as_bytes(STREAM)) == RECORD


def test_the_hash_of_a_0_1_worker_which_has_a_record_is_decoded_too() -> None:
    assert decode_market_state(HASH | {"record": encode_record(RECORD)}) == RECORD


def with_schema(schema: object) -> dict[str, bytes]:
    return {"record": msgspec.json.encode(msgspec.to_builtins(RECORD) | {"schema": schema})}


@pytest.mark.parametrize("schema", [2, 0, -1])
def test_a_record_with_another_schema_version_is_refused(schema: object) -> None:
    with pytest.raises(UnknownSchema) as refused:
        decode_market_state(with_schema(schema))
    assert f"record has schema {schema!r}; this version reads {SCHEMA_VERSION}" in str(
        refused.value
    )


@pytest.mark.parametrize("schema", ["1", None, 1.5, [], True])
def test_a_record_whose_schema_is_no_version_is_not_a_record(schema: object) -> None:
    with pytest.raises(UnknownRecord, match="its record cannot be read: ") as refused:
        decode_market_state(with_schema(schema))
    assert not isinstance(refused.value, UnknownSchema)


def test_a_record_of_a_later_schema_need_not_have_our_fields() -> None:
    with pytest.raises(UnknownSchema):
        decode_market_state({"record": b'{"schema": 2, "sigma": "other"}'})


def test_a_record_without_a_schema_is_refused() -> None:
    with pytest.raises(UnknownRecord, match="its schema is None, not a number"):
        decode_market_state({"record": "{}"})


@pytest.mark.parametrize("fields", [HASH, as_bytes(HASH)], ids=["text", "bytes"])
def test_a_hash_has_no_record_and_the_error_names_the_call_that_reads_it(fields: Any) -> None:
    with pytest.raises(
        UnknownRecord, match=r"call marketstate\.schemas\.reader\.latest_state, which reads"
    ):
        decode_market_state(fields)


def test_an_entry_without_a_record_is_from_another_program() -> None:
    without = {name: value for name, value in STREAM.items() if name != "record"}
    with pytest.raises(UnknownRecord, match="no field 'record': another program wrote it"):
        decode_market_state(without)


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("quantum:marketstate:", "quantum:marketstate-record:BTCUSDT"),
        ("states:", "states-record:BTCUSDT"),
        (":", "-record:BTCUSDT"),
    ],
)
def test_the_key_of_a_record_does_not_start_with_the_prefix_of_the_hashes(
    prefix: str, key: str
) -> None:
    assert record_key(prefix, "BTCUSDT") == key
    assert not key.startswith(prefix)


DAMAGED = ["", "{", "[]", "null", '{"schema": 1}', '{"schema": true}', b"\xff", '{"a":' * 20_000]


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda damaged: repr(damaged[:9]))
def test_a_damaged_record_is_refused(damaged: str | bytes) -> None:
    with pytest.raises(UnknownRecord, match=r"\Aits record cannot be read: "):
        decode_market_state({"record": damaged})


def test_a_record_with_fields_of_a_later_worker_is_read() -> None:
    later: Any = msgspec.to_builtins(RECORD) | {"added_later": 1}
    assert decode_market_state({"record": msgspec.json.encode(later)}) == RECORD


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        MarketStateRecord,
        symbol=st.text(st.characters(exclude_categories=["Cs"])),
        interval=st.just("1m"),
        source=st.sampled_from(["candles", "synthetic"]),
        close_time_ms=st.integers(0, 2**53),
        close=FLOATS,
        sigma=FLOATS,
        mu=FLOATS,
        ts=FLOATS,
        regime=st.sampled_from(["trend", "mr", "chop"]),
        regime_probs=st.builds(RegimeProbs, FLOATS, FLOATS, FLOATS),
        features=st.builds(Features, FLOATS, FLOATS, FLOATS),
        windows=st.builds(Windows, st.integers(), st.lists(st.integers()), st.integers()),
        ts_components=st.builds(TsComponents, FLOATS, FLOATS),
        buffer_size=st.integers(0, 100_000),
        theta_hash=st.text("0123456789abcdef", min_size=16, max_size=16),
    )
)
def test_a_record_keeps_every_bit_when_encoded_and_decoded(record: MarketStateRecord) -> None:
    """G2: what is published can be compared to the last bit."""
    # repr distinguishes -0.0 from 0.0; == does not.
    assert repr(decode_market_state({"record": encode_record(record)})) == repr(record)
