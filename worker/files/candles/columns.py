"""The columns of candle files: what each holds, by its name, by --columns, or by their number."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from marketstate.schemas.closed import FLAGS
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.candles.said import Said

UNUSED: Final = "-"
TIME: Final = "time"
FLAG: Final = "flag"
_TIMES: Final = ("open_time", "close_time")

# For each role, the names of its columns, without case, blanks and punctuation.
_NAMES: Final = {
    "open_time": "opentime starttime start",
    "close_time": "closetime endtime end stop",
    # It may be the open or the close time.
    TIME: "time timestamp date datetime unix unixtime unixtimestamp",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "symbol": "symbol pair ticker instrument",
    "interval": "interval timeframe",
    FLAG: " ".join(FLAGS).replace("_", "").lower(),
}
_ROLES: Final = {name: role for role, names in _NAMES.items() for name in names.split()}
# More than one column may have these: they are compared with each other.
_MAY_REPEAT: Final = {TIME, FLAG}
_UNIT: Final = re.compile(r"(ms|us|ns|utc)\Z")

PLAIN_COLUMNS: Final = ("open_time", "open", "high", "low", "close", "volume")
BINANCE_COLUMNS: Final = (
    *PLAIN_COLUMNS,
    *("close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_WITHOUT_NAMES: Final = {
    # Alone, the first column is the open time if nothing says otherwise.
    6: (TIME, *PLAIN_COLUMNS[1:]),
    12: BINANCE_COLUMNS,
}
_MOST_SHOWN: Final = 40
_ADVICE: Final = (
    "say what the columns are, such as --columns time,open,close,high,low,volume, with - for one "
    "that is not used"
)


class Columns(NamedTuple):
    shown: tuple[str, ...]
    """Names as the file or --columns has them."""
    roles: tuple[str | None, ...]
    have_names: bool
    """Whether the file names them."""

    def first(self, role: str) -> int | None:
        return self.roles.index(role) if role in self.roles else None

    def every(self, role: str) -> list[int]:
        return [i for i, found in enumerate(self.roles) if found == role]


def shown(cell: str) -> str:
    """Safe to print: a cell may be long, and hold characters that move the cursor."""
    text = cell[:_MOST_SHOWN]
    return text if text.isprintable() else ascii(text)[1:-1]


def role_of(name: str) -> str | None:
    key = re.sub("[^a-z0-9]", "", name.lower())
    return _ROLES.get(key) or _ROLES.get(_UNIT.sub("", key))


def is_data(cells: Sequence[str]) -> bool:
    """Whether a line has a number or a date, so that it is not a line of names."""
    return any(re.match(r"[-+]?[0-9]*\.?[0-9]+([eE.]|$)|[0-9]{4}-[0-9]", cell) for cell in cells)


def named(cells: Sequence[str], said: Said, where: str) -> Columns:
    """From a line of names. Raises FileUnusable if it does not fit."""
    columns = Columns(tuple(map(shown, cells)), tuple(map(role_of, cells)), have_names=True)
    if not said.columns:
        _refuse_unusable(columns, where)
        return columns
    ours = _said(said, len(cells), where)
    both = zip(ours.roles, columns.roles, columns.shown, strict=True)
    return ours._replace(roles=tuple(_agreed(*each, where=where) for each in both))


def _agreed(said: str | None, found: str | None, shown: str, where: str) -> str | None:
    """The role of a column that --columns and the file name: the more exact one of a time."""
    if said is None or found is None or said == found or (found == TIME and said in _TIMES):
        return said
    if said == TIME and found in _TIMES:
        return found
    raise FileUnusable(f"{where}: --columns says {said}, but the file calls it {shown}")


def without_names(cells: Sequence[str], said: Said, where: str) -> Columns:
    """For a file whose first line is a candle. Raises FileUnusable if nothing says what it is."""
    if said.columns:
        return _said(said, len(cells), where)
    names = _WITHOUT_NAMES.get(len(cells))
    if names is None:
        raise FileUnusable(
            f"{where}: {len(cells)} columns without names; expected 6 or 12, or a first line with "
            f"their names; or {_ADVICE}"
        )
    return Columns(names, tuple(map(role_of, names)), have_names=False)


def show(columns: Columns, cells: Sequence[str]) -> str:
    """The columns of a row and what they are taken for, with the advice to say what they are."""
    taken = ", ".join(
        f"{name} {shown(cell)}" for name, cell in zip(columns.shown, cells, strict=True) if name
    )
    return f"taken as {taken}; {_ADVICE}"


def _said(said: Said, count: int, where: str) -> Columns:
    if len(said.columns) != count:
        raise FileUnusable(
            f"{where}: {count} columns, but --columns names {len(said.columns)}: "
            f"{','.join(said.columns)}"
        )
    roles = tuple(None if name == UNUSED else role_of(name) for name in said.columns)
    columns = Columns(said.columns, roles, have_names=False)
    _refuse_unusable(columns, f"{where}: --columns")
    return columns


def _refuse_unusable(columns: Columns, where: str) -> None:
    listed = ", ".join(columns.shown)
    lacks = [] if "close" in columns.roles else ["close"]
    if not {*_TIMES, TIME} & set(columns.roles):
        lacks.append("open_time, close_time or time")
    if lacks:
        raise FileUnusable(
            f"{where}: no column {' and no '.join(lacks)} among {listed}; the first line must name "
            f"the columns, as UTF-8 text; or {_ADVICE}"
        )
    seen: dict[str, str] = {}
    for name, role in zip(columns.shown, columns.roles, strict=True):
        if name in ("", UNUSED):
            continue
        keys = {name.lower()} | ({role} if role and role not in _MAY_REPEAT else set())
        for key in keys:
            if key in seen:
                raise FileUnusable(
                    f"{where}: two columns, {seen[key]} and {name}, are the same; {_ADVICE}"
                )
        seen |= dict.fromkeys(keys, name)
