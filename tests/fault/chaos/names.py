"""Keys and names as documented: the checker takes nothing from the project's code."""

from typing import Final

GROUP: Final = "marketstate"
INPUT: Final = "quantum:stream:market.klines"
OUTPUT: Final = "quantum:stream:marketstate"
DEAD: Final = "quantum:stream:marketstate.dead"
STATE_PREFIX: Final = "quantum:marketstate:"
INTERNAL_PREFIX: Final = f"quantum:marketstate-worker:{GROUP}"
WINDOW_PREFIX: Final = f"{INTERNAL_PREFIX}:window:"
COUNTERS_KEY: Final = f"{INTERNAL_PREFIX}:counters"
