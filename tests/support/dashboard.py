"""The queries of the dashboard in deploy/grafana, as Grafana sends them."""

import json
from typing import Any, Final

from tests.support.documents import ROOT

DASHBOARD: Final[Any] = json.loads((ROOT / "deploy/grafana/marketstate.json").read_text())


def queries(symbol: str) -> list[str]:
    """Of all panels, for all instances and one symbol."""
    return [
        filled_in(target["expr"], symbol)
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    ]


def filled_in(query: str, symbol: str) -> str:
    for variable, value in {
        "$instance": ".*",
        "$symbol": symbol,
        "$__rate_interval": "1m",
    }.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query
