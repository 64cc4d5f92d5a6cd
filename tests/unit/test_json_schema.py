"""The JSON Schema of the record, for readers in other languages."""

import inspect
import json
from pathlib import Path

from marketstate import schemas
from marketstate.schemas.json_schema import market_state_schema, without_indents
from marketstate.schemas.market_state import MarketStateRecord, encode_record
from tests.support.records import make_record

FILE = Path(schemas.__path__[0]) / "market_state.schema.json"


def test_the_file_matches_the_code() -> None:
    """The first lines of `schemas/json_schema.py` say how to write it again."""
    assert FILE.read_text() == market_state_schema()


def test_it_does_not_depend_on_whether_the_interpreter_indents_docstrings() -> None:
    """Python 3.13 and newer remove the indentation when they compile."""
    older = "A record.\n\n    With a second line,\n      and a third.\n    "
    for docstring in (older, inspect.cleandoc(older)):
        schema = {"$defs": {"Record": {"description": docstring, "required": ["a"]}}}
        described = "A record.\n\nWith a second line,\n  and a third."
        expected = {"$defs": {"Record": {"description": described, "required": ["a"]}}}
        assert without_indents(schema) == expected
    described = json.loads(market_state_schema())["$defs"][MarketStateRecord.__name__]
    assert "\n " not in described["description"]


def test_it_describes_every_field_of_a_record() -> None:
    record = json.loads(encode_record(make_record("BTCUSDT", 0)))
    definitions = json.loads(FILE.read_text())["$defs"]
    described = definitions[MarketStateRecord.__name__]["properties"]
    assert set(described) == set(record)
    nested = {"regime_probs": "RegimeProbs", "features": "Features", "windows": "Windows"}
    for name, definition in nested.items():
        assert set(definitions[definition]["properties"]) == set(record[name])
