"""What the command line says of candle files, where their names and columns do not say it."""

from typing import Final, NamedTuple

from marketstate.worker.errors import ConfigurationError


class Said(NamedTuple):
    symbol: str | None = None
    interval: str | None = None
    """In our notation."""
    columns: tuple[str, ...] = ()
    """The name of each column, in order; `-` for one that is not used."""
    time: str | None = None
    """`open` or `close`: what a column is that is only called a time."""


NOTHING: Final = Said()


def refuse_of_recordings(said: Said) -> None:
    """Raises ConfigurationError: recordings say all of it themselves."""
    if said != NOTHING:
        raise ConfigurationError(
            "--symbol, --interval, --columns and --time are for candle files, not recordings"
        )
