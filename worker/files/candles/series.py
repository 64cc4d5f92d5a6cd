"""The candle files of one command: they have one interval, and are read as one sequence by time."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from marketstate.schemas.interval import interval_ms
from marketstate.schemas.sequence import Place
from marketstate.schemas.symbol import plain
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.files.candles.file import read_file
from marketstate.worker.files.candles.following import Following, ReadCandle
from marketstate.worker.files.candles.names import each_file, identity, parsed
from marketstate.worker.files.candles.said import NOTHING, Said
from marketstate.worker.files.findings import Findings
from marketstate.worker.files.merging import merged


class CandleFiles:
    """Can be read more than once."""

    def __init__(self, paths: Iterable[Path], said: Said = NOTHING) -> None:
        """`paths` may be folders. Raises ConfigurationError for files that cannot be combined."""
        self._said = said
        self._paths = each_file(paths)
        identities = [identity(path, said) for path in self._paths]
        self.interval = self._only_interval([interval for _, interval in identities])
        self._spelled: dict[str, str] = {}
        self.notes: list[str] = []
        for path, (symbol, _) in zip(self._paths, identities, strict=True):
            first = self._spelled.setdefault(plain(symbol), symbol)
            if first != symbol:
                self.notes.append(f"{path}: {symbol} is taken for the same symbol as {first}")
        self._symbols = [self._spelled[plain(symbol)] for symbol, _ in identities]
        self._refuse_two_symbols_under_one_name()

    @property
    def symbols(self) -> list[str]:
        return list(self._spelled.values())

    def read(self, findings: Findings, only: str | None = None) -> Iterator[ReadCandle]:
        """The candles of all files, or of one symbol, by close time, each once, as in a stream."""
        if only is None:
            findings.notes += self.notes
        ours = [
            (path, symbol)
            for path, symbol in zip(self._paths, self._symbols, strict=True)
            if only in (None, symbol)
        ]
        following = Following(self.interval, findings, tell_gaps=True)
        files = [partial(read_file, path, findings, self._said, symbol) for path, symbol in ours]
        unnoted = Findings(skip_bad=True, allow_gaps=True)
        looks = [partial(read_file, path, unnoted, self._said, symbol) for path, symbol in ours]
        next_one = Place.NEXT  # an enum takes long to look up, and this is for each candle
        for read in merged(files, looks, key=lambda read: read.candle.close_time):
            if following.place_of(read) is next_one:
                yield read

    def _only_interval(self, intervals: list[str]) -> str:
        found = {interval_ms(interval): interval for interval in intervals}
        if len(found) > 1:
            first = {interval: path for path, interval in zip(self._paths, intervals, strict=True)}
            listed = ", ".join(f"{path} ({interval})" for interval, path in first.items())
            raise ConfigurationError(
                f"all files must have the same candle interval; found {listed}: read them apart"
            )
        return next(iter(found.values()), "")

    def _refuse_two_symbols_under_one_name(self) -> None:
        if not self._said.symbol:
            return
        named = {
            plain(symbol): path for path in self._paths if (symbol := parsed(path.name).symbol)
        }
        if len(named) > 1:
            raise ConfigurationError(
                f"--symbol says {self._said.symbol}, but these files name different symbols: "
                f"{', '.join(map(str, named.values()))}"
            )
