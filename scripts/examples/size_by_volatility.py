"""Proposes a size for each market from its latest state: smaller if prices move more, larger if
they trend. It only prints proposals.

    REDIS_URL=redis://localhost:6379 python size_by_volatility.py BTCUSDT ETHUSDT
"""

import argparse
import os
import sys
import time
from datetime import timedelta

import redis

from marketstate.schemas.market_state import MarketStateRecord, UnknownRecord
from marketstate.schemas.reader import is_stale, latest_state


def size(record: MarketStateRecord, wanted_sigma: float) -> float:
    """A fraction of the full size, from 0 to 1.

    Sigma scales it so that the holding moves by about `wanted_sigma`. ts scales it further: to half
    if the trend is lost in the noise, not at all if the trend is as strong as the noise.
    """
    by_sigma = min(1.0, wanted_sigma / record.sigma)
    by_ts = 0.5 + 0.5 * min(1.0, record.ts)
    return by_sigma * by_ts


def proposal(record: MarketStateRecord | None, wanted_sigma: float, now_ms: float) -> str:
    if record is None:
        return "no state: would keep the current size"
    if is_stale(record, now_ms):
        age = timedelta(seconds=int(now_ms - record.close_time_ms) // 1_000)
        return f"state is {age} old: would keep the current size"
    return (
        f"sigma {record.sigma:.6f}  ts {record.ts:.3f}  regime {record.regime}: "
        f"would size to {size(record, wanted_sigma):.0%} of full size"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Print proposed sizes by sigma and ts.")
    parser.add_argument("symbols", nargs="+", metavar="SYMBOL")
    parser.add_argument(
        "--wanted-sigma", type=float, default=0.0005, help="per candle; default: %(default)s"
    )
    parser.add_argument(
        "--partitions", type=int, metavar="N", help="how many the workers have, if they have any"
    )
    options = parser.parse_args()
    try:
        with redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")) as client:
            for symbol in options.symbols:
                try:
                    state = latest_state(client, symbol, partitions=options.partitions)
                    text = proposal(state, options.wanted_sigma, time.time() * 1_000)
                except UnknownRecord as error:
                    text = f"not a state of a worker ({error}): would keep the current size"
                print(f"{symbol}: {text}")
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"cannot read from Redis, see REDIS_URL: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
