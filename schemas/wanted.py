"""What the fields of a candle must be, for messages about entries that cannot be read."""

import re
from typing import Final

from marketstate.schemas.closed import FLAGS

_TIME: Final = "the end of the candle in milliseconds since 1970, such as 1746373259999"
_PRICE: Final = "a number such as 95459.2"
_FLAG: Final = "true, false, 1 or 0"
_WANTED: Final = (
    {"close_time": _TIME, "T": _TIME, "close": _PRICE, "c": _PRICE}
    | dict.fromkeys(FLAGS, _FLAG)
    | {"symbol": "a name such as BTCUSDT"}
)
_FIELD: Final = re.compile(r"`(?:\$\.)?(?:k\.)?(\w+)`\Z")


def with_what_is_wanted(text: str) -> str:
    """A message of msgspec, with what the field that it names must be."""
    field = _FIELD.search(text)
    wanted = _WANTED.get(field[1]) if field else None
    return f"{text}; {field[1]} must be {wanted}" if field and wanted else text
