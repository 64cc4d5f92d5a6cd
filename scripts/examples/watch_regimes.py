"""Reports when a market changes its regime, and when its moves suddenly grow or calm down. It only
prints proposals; stop it with Ctrl-C or SIGTERM.

    REDIS_URL=redis://localhost:6379 python watch_regimes.py --consumer host-1
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator

import redis

from marketstate.schemas.market_state import MarketStateRecord
from marketstate.schemas.reader import StateReader

PROPOSALS = {
    "trend": "would let it run",
    "mr": "would harvest at the edges of its range",
    "chop": "would size down and wait",
}
# spike_proxy is the usual move in the window divided by the recent one.
WILDER, CALMER = 0.5, 1.5


def pace(record: MarketStateRecord) -> str:
    spike_proxy = record.features.spike_proxy
    return "wild" if spike_proxy < WILDER else "calm" if spike_proxy > CALMER else "usual"


def news(before: MarketStateRecord, now: MarketStateRecord) -> Iterator[str]:
    if before.regime != now.regime:
        yield f"{before.regime} -> {now.regime}: {PROPOSALS.get(now.regime, 'would wait')}"
    if pace(before) != pace(now) == "wild":
        yield f"spike, spike_proxy {now.features.spike_proxy:.2f}: would widen the distances"
    if pace(before) != pace(now) == "calm":
        yield f"calm, spike_proxy {now.features.spike_proxy:.2f}: would narrow the distances"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print regime changes, spikes and proposals.")
    parser.add_argument("--group", default="watch-regimes")
    parser.add_argument("--consumer", default="one", help="must stay the same across restarts")
    parser.add_argument(
        "--from-start", action="store_true", help="a new group starts with the existing entries"
    )
    parser.add_argument(
        "--partitions", type=int, metavar="N", help="how many the workers have, if they have any"
    )
    options = parser.parse_args()
    try:
        with redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")) as client:
            client.ping()  # later outages are retried
            watch(client, options)
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"cannot read from Redis, see REDIS_URL: {type(error).__name__}: {error}")


def watch(client: redis.Redis, options: argparse.Namespace) -> None:
    reader = StateReader(
        client,
        group=options.group,
        consumer=options.consumer,
        partitions=options.partitions,
        start="0" if options.from_start else "$",
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reader.stop())
    latest: dict[str, MarketStateRecord] = {}
    told = 0
    for state in reader:
        for text in news(latest.get(state.symbol, state), state):
            print(f"{state.symbol}: {text}", flush=True)
        latest[state.symbol] = state
        told = tell_of_unknown(reader, told)
    tell_of_unknown(reader, told)


def tell_of_unknown(reader: StateReader, told: int) -> int:
    """How many entries of other programs are told of, of which `told` were before."""
    if reader.unknown > told:
        print(
            f"skipped {reader.unknown - told} entries that no worker wrote, the last one "
            f"{reader.last_unknown_id}: see `marketstate check`",
            file=sys.stderr,
            flush=True,
        )
    return reader.unknown


if __name__ == "__main__":
    main()
