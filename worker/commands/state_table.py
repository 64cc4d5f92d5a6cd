"""A table of states that grows by a row per state, as wide as its terminal allows."""

from collections.abc import Callable
from typing import IO, Final, NamedTuple

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.worker.commands.cells import cut, left, right
from marketstate.worker.commands.terminal_size import Size, terminal_size
from marketstate.worker.engine.utc import utc


class _Column(NamedTuple):
    name: str
    width: int
    """Above 0 to align at the right, below 0 at the left."""
    text: Callable[[MarketStateRecord], str]

    def cell(self, text: str) -> str:
        return right(text, self.width) if self.width > 0 else left(text, -self.width)


_COLUMNS: Final = (
    _Column("closed at (UTC)", -20, lambda r: f"{utc(r.close_time_ms)} "),
    _Column("closed (UTC)", -15, lambda r: f"{utc(r.close_time_ms)[5:]} "),
    _Column("symbol", -12, lambda r: r.symbol),
    _Column("close", 12, lambda r: f"{r.close:.8g}"),
    _Column("sigma", 11, lambda r: f"{r.sigma:.8f}"),
    _Column("mu", 11, lambda r: f"{r.mu:.8f}"),
    _Column("ts", 8, lambda r: f"{r.ts:.4f}"),
    _Column("regime", -7, lambda r: f" {r.regime}"),
    _Column("trend", 6, lambda r: f"{r.regime_probs.trend:.1%}"),
    _Column("mr", 6, lambda r: f"{r.regime_probs.mr:.1%}"),
    _Column("chop", 6, lambda r: f"{r.regime_probs.chop:.1%}"),
    _Column("closes", 7, lambda r: str(r.buffer_size)),
)
# The whole time goes before the one without a year; the others go first where room is short.
_DISPENSABLE: Final = ("closed at (UTC)", "closes", "sigma", "mu")


class StateTable:
    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._columns: list[_Column] = []
        self._rows_since_names = 0

    def add(self, record: MarketStateRecord) -> None:
        """Print a row. The names come first, and again before they leave the screen."""
        size = terminal_size(self._stream)
        columns = _columns_within(size)
        is_long = size is not None and self._rows_since_names >= max(1, size.lines - 2)
        if columns != self._columns or is_long:
            self._columns, self._rows_since_names = columns, 0
            self._print([column.cell(column.name) for column in columns], size)
        self._print([column.cell(column.text(record)) for column in columns], size)
        self._rows_since_names += 1

    def _print(self, cells: list[str], size: Size | None) -> None:
        line = " ".join(cells).rstrip()
        print(line if size is None else cut(line, size.columns), file=self._stream, flush=True)


def _columns_within(size: Size | None) -> list[_Column]:
    """All that fit, with one of the two times."""
    for count in range(len(_DISPENSABLE) + 1):
        left_out = {*_DISPENSABLE[:count], *(["closed (UTC)"] * (count == 0))}
        columns = [column for column in _COLUMNS if column.name not in left_out]
        width = sum(abs(column.width) + 1 for column in columns) - 1
        if size is None or width <= size.columns:
            break
    return columns
