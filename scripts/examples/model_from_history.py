"""Fits a small model with a file of `marketstate history`, and serves it from the live stream: the
same features of the same states. Of a state that both have, it compares the forecasts. It only
prints; stop it with Ctrl-C or SIGTERM. It needs pip install '.[frames,history]'.

    marketstate history candles --out states.parquet
    REDIS_URL=redis://localhost:6379 python model_from_history.py states.parquet --consumer host-1
"""

import argparse
import os
import signal
import sys
from typing import Any

import numpy as np
import redis

from marketstate.schemas.frames import of_history, of_states
from marketstate.schemas.reader import StateReader

FEATURES = ("sigma", "mu", "vr", "spike_proxy", "p_trend")


def forecasts(states: Any, weights: Any) -> Any:
    """The sigma of each next state, of a frame with the columns FEATURES.

    Term by term: a product of matrices may round otherwise for one row than for many.
    """
    total = np.full(len(states), weights[0])
    for name, weight in zip(FEATURES, weights[1:], strict=True):
        total = total + weight * states[name].to_numpy()
    return total


def fit(history: Any) -> Any:
    """The weights: a constant, then one for each of FEATURES."""
    following = history.groupby("symbol", observed=True)["sigma"].shift(-1).to_numpy()
    is_known = ~np.isnan(following)
    columns = [np.ones(len(history)), *(history[name].to_numpy() for name in FEATURES)]
    weights, *_ = np.linalg.lstsq(np.column_stack(columns)[is_known], following[is_known])
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description="Forecast sigma with a model of a history file.")
    parser.add_argument("history", metavar="FILE", help="of marketstate history")
    parser.add_argument("--stream", default="quantum:stream:marketstate")
    parser.add_argument("--group", default="model-from-history")
    parser.add_argument("--consumer", default="one", help="must stay the same across restarts")
    parser.add_argument(
        "--from-start", action="store_true", help="a new group starts with the existing entries"
    )
    parser.add_argument(
        "--partitions", type=int, metavar="N", help="how many the workers have, if they have any"
    )
    options = parser.parse_args()
    try:
        history = of_history(options.history, columns=["symbol", *FEATURES])
        weights = fit(history)
        constant, *factors = (f"{weight:.3g}" for weight in weights)
        terms = (f"{factor} {name}" for factor, name in zip(factors, FEATURES, strict=True))
        print("next sigma =", " + ".join((constant, *terms)))
        keys = zip(history["symbol"], history.index.as_unit("ms").asi8.tolist(), strict=True)
        known = dict(zip(keys, forecasts(history, weights).tolist(), strict=True))
        with redis.Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379")) as client:
            client.ping()  # later outages are waited for
            serve(client, options, weights, known)
    except (redis.RedisError, OSError, ValueError) as error:
        sys.exit(f"cannot go on, see REDIS_URL and the file: {type(error).__name__}: {error}")


def serve(
    client: redis.Redis,
    options: argparse.Namespace,
    weights: Any,
    known: dict[tuple[str, int], float],
) -> None:
    reader = StateReader(
        client,
        group=options.group,
        consumer=options.consumer,
        stream=options.stream,
        partitions=options.partitions,
        start="0" if options.from_start else "$",
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reader.stop())
    live = compared = agreed = 0
    for state in reader:
        forecast = float(forecasts(of_states([state]), weights)[0])
        of_file = known.get((state.symbol, state.close_time_ms))
        live += 1
        compared += of_file is not None
        agreed += of_file == forecast
        print(f"{state.symbol}: sigma {state.sigma:.6f}, next {forecast:.6f}", flush=True)
    print(f"{live} live states, {compared} of them in the file: {agreed} forecasts are the same")
    if agreed < compared:
        sys.exit("some differ: were both calculated with the same theta, interval and version?")


if __name__ == "__main__":
    main()
