"""When two names are spellings of one symbol, in files and in caches.

In the stream, a symbol is used as it is written.
"""

import re
from functools import lru_cache


@lru_cache(maxsize=4_096)
def plain(symbol: str) -> str:
    """What is equal for two spellings of one symbol, such as BTC/USD and btc-usd."""
    return re.sub("[/_:-]", "", symbol).upper()
