"""The JSON Schema of the published record, for readers in other languages.

After changing the record, run `python -m schemas.json_schema > schemas/market_state.schema.json`.
"""

from typing import Any

import msgspec

from schemas.market_state import MarketStateRecord


def market_state_schema() -> str:
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(MarketStateRecord),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    print(market_state_schema(), end="")
