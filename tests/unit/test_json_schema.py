"""The JSON Schema of the record, for readers in other languages."""

import json
from pathlib import Path

import schemas
from schemas.json_schema import market_state_schema
from schemas.market_state import MarketStateRecord, encode_record
from tests.support.records import make_record

FILE = Path(schemas.__path__[0]) / "market_state.schema.json"


def test_the_file_matches_the_code() -> None:
    """To update it: `python -m schemas.json_schema > schemas/market_state.schema.json`."""
    assert FILE.read_text() == market_state_schema()


def test_it_describes_every_field_of_a_record() -> None:
    record = json.loads(encode_record(make_record("BTCUSDT", 0)))
    definitions = json.loads(FILE.read_text())["$defs"]
    described = definitions[MarketStateRecord.__name__]["properties"]
    assert set(described) == set(record)
    nested = {"regime_probs": "RegimeProbs", "features": "Features", "windows": "Windows"}
    for name, definition in nested.items():
        assert set(definitions[definition]["properties"]) == set(record[name])
