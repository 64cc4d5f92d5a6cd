"""The JSON Schema of the published record, for readers in other languages.

After changing the record, write it again:
`python -m marketstate.schemas.json_schema > schemas/market_state.schema.json`.
"""

import inspect
from typing import Any

import msgspec

from marketstate.schemas.market_state import MarketStateRecord


def market_state_schema() -> str:
    """The same text in every version of Python: 3.13 and newer remove the indentation of
    docstrings, from which the descriptions come.
    """
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(MarketStateRecord),
    }
    return (
        msgspec.json.format(msgspec.json.encode(without_indents(schema)), indent=2).decode() + "\n"
    )


def without_indents(schema: Any) -> Any:
    """A copy, with the indentation of its docstrings removed."""
    if isinstance(schema, dict):
        return {
            name: inspect.cleandoc(value)
            if name == "description" and isinstance(value, str)
            else without_indents(value)
            for name, value in schema.items()
        }
    return schema


if __name__ == "__main__":
    print(market_state_schema(), end="")
