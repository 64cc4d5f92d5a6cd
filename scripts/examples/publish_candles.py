"""Appends closed candles to the input stream of the workers: a producer to start from. It reads a
JSON document per line from standard input; replace `candles` with what your source gives you.
marketstate-worker must be installed: it knows the stream of a symbol.

    REDIS_URL=redis://localhost:6379 python publish_candles.py < candles.jsonl

    {"symbol": "BTCUSDT", "interval": "1m", "close": 95459.2, "close_time": 1746373259999}
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from marketstate.schemas.partitions import INPUT_STREAM, stream_of

NEEDED = ("symbol", "interval", "close", "close_time")


def candles(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Closed ones, and those of a symbol in the order of their time: workers pass over all others.

    A line that cannot be used is reported and left out, for the next candle is worth more than an
    end here.
    """
    for number, line in enumerate(lines, start=1):
        try:
            candle = json.loads(line)
            yield {name: candle[name] for name in NEEDED}
        except (ValueError, TypeError, KeyError) as error:
            print(f"line {number} is left out: {error!r}", file=sys.stderr, flush=True)


def publish(client: redis.Redis, stream: str, candle: dict[str, Any], keep: int) -> None:
    """The flat form of schemas/README.md, What may come in. If it is sent twice because a reply was
    lost, the workers count the second one as a duplicate.
    """
    fields: Any = {**candle, "is_closed": "true"}
    client.xadd(stream, fields, maxlen=keep, approximate=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Append candles from standard input to a stream.")
    parser.add_argument("--stream", default=INPUT_STREAM)
    parser.add_argument(
        "--partitions", type=int, metavar="N", help="how many the workers have, if they have any"
    )
    parser.add_argument(
        "--keep", type=int, default=100_000, help="entries, roughly; more than workers may lag"
    )
    options = parser.parse_args()
    patient = Retry(ExponentialBackoff(cap=5, base=0.1), 10)
    url = os.environ.get("REDIS_URL", "redis://localhost:6379")
    try:
        with redis.Redis.from_url(url) as client:
            client.ping()
            client.set_retry(patient)  # later outages are waited for
            for candle in candles(sys.stdin):
                stream = stream_of(str(candle["symbol"]), options.partitions, options.stream)
                publish(client, stream, candle, options.keep)
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"cannot write to Redis, see REDIS_URL: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
