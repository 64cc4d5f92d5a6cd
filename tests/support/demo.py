"""The table that `marketstate demo` prints, as tests read it."""

import re
from typing import Final

ROW: Final = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (\w+) +\S+ +[\d.]+ +-?[\d.]+ +[\d.]+  (trend|mr|chop) "
)


def symbols_in(output: str) -> list[str]:
    return [match[1] for line in output.splitlines() if (match := ROW.match(line))]
