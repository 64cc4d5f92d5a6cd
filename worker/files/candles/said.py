"""What the command line says of candle files, where their names and columns do not say it."""

from typing import Final, NamedTuple


class Said(NamedTuple):
    symbol: str | None = None
    interval: str | None = None
    """In our notation."""
    columns: tuple[str, ...] = ()
    """The name of each column, in order; `-` for one that is not used."""
    time: str | None = None
    """`open` or `close`: what a column is that is only called a time."""


NOTHING: Final = Said()
