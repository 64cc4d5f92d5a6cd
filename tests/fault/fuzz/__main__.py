"""`scripts/fuzz`: odd entries of all forms through a real Redis and a whole worker, and judges."""

import sys
import time
import traceback
from random import Random

from marketstate.worker.errors import RedisUnusable
from marketstate.worker.local.redis_server import EmbeddedRedis, any_server
from tests.fault.fuzz.entries import odd_entry
from tests.fault.fuzz.options import parser
from tests.fault.fuzz.rig import Rig
from tests.support.redis_versions import oldest_server

CLEAN, BAD = 0, 4
A_ROUND = 2_000
# About one of each symbol.
ENTRIES_PER_MINUTE = 20
ROUNDS_BETWEEN_RESTARTS = 25
MOST_SHOWN = 20


def main() -> int:
    options = parser().parse_args()
    print(f"seed {options.seed}", flush=True)
    try:
        binary = (oldest_server() if options.old else None) or any_server()
    except RedisUnusable as error:
        print(error)
        return BAD
    with EmbeddedRedis(binary) as server, server.client() as client:
        rig = Rig(server, client)
        try:
            return _run(rig, options.entries, options.seed)
        finally:
            rig.close()


def _run(rig: Rig, entries: int, seed: int) -> int:
    began_s, done = time.monotonic(), 0
    for number, start in enumerate(range(0, entries, A_ROUND)):
        # Each round by itself can be repeated with its own seed.
        round_seed = f"{seed}:{number}"
        rng = Random(round_seed)
        minutes = range(start, min(start + A_ROUND, entries))
        batch = [odd_entry(rng, i // ENTRIES_PER_MINUTE) for i in minutes]
        try:
            wrong = rig.round(batch)
            if number % ROUNDS_BETWEEN_RESTARTS == ROUNDS_BETWEEN_RESTARTS - 1:
                wrong += rig.restart()
        except Exception:
            traceback.print_exc()
            wrong = ["the worker ended"]
        done += len(batch)
        if wrong:
            print(f"round {number} (seed {round_seed!r}):")
            print("\n".join(line[:2_000] for line in wrong[:MOST_SHOWN]))
            return BAD
        if number % ROUNDS_BETWEEN_RESTARTS == 0:
            _tell(done, began_s)
    _tell(done, began_s)
    ends = ", ".join(f"{end} {count:,}" for end, count in sorted(rig.ends.items()))
    print(f"each has exactly one end: {ends}; no worker ended")
    return CLEAN


def _tell(done: int, began_s: float) -> None:
    rate = done / (time.monotonic() - began_s)
    print(f"{done:,} entries, {rate:,.0f}/s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
