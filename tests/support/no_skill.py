"""How often `calibrate --ahead` claims skill where nothing can be foreseen.

    python -m tests.support.no_skill                    # random walks
    python -m tests.support.no_skill FILE...            # and shuffled returns of these candle files

It takes a minute or two for each. Exit code 4 if skill is claimed for more than 5 of 100 seeds.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from marketstate.core.theta import merged_theta
from marketstate.worker.commands.calibrate.judged import judged
from marketstate.worker.commands.calibrate.worth import Worth, worth_of
from marketstate.worker.commands.plot.series import of_candles
from marketstate.worker.files.candles.series import CandleFiles
from marketstate.worker.files.findings import Findings
from tests.support.regime_walks import Floats, candles_of, random_walk

AHEAD: Final = 60
FOLDS: Final = 5
CANDLES: Final = 30_000
MOST_CLAIMS: Final = 0.05
_MINUTE_MS: Final = 60_000
_WINDOW: Final = 257


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--seeds", type=int, default=100)
    options = parser.parse_args()
    walks: dict[str, Callable[[int], Floats]] = {
        "random walk": lambda seed: random_walk(CANDLES, seed)
    }
    if options.files:
        pool = returns_of(options.files)
        walks["shuffled returns"] = lambda seed: shuffled(pool, seed)
    failed = False
    for name, walk in walks.items():
        gains = [worth_of_returns({"X": walk(seed)}) for seed in range(options.seeds)]
        claims = sum(worth.is_skill for worth in gains)
        mean = np.mean([worth.base_rates.log_loss_gain.value for worth in gains])
        failed |= claims > MOST_CLAIMS * len(gains)
        print(f"{name}: skill claimed for {claims} of {len(gains)} seeds; mean gain {mean:+.4f}")
    return 4 if failed else 0


def worth_of_returns(returns: dict[str, Floats]) -> Worth:
    theta = merged_theta()
    found = of_candles(candles_of(returns), theta, None, lambda _last, _next: False)
    states = judged(list(found.values()), AHEAD, theta)
    embargo_ms = AHEAD * _MINUTE_MS
    return worth_of(states, theta, FOLDS, embargo_ms, _WINDOW * _MINUTE_MS + embargo_ms)


def returns_of(files: Sequence[Path]) -> Floats:
    """The log returns of all symbols, one after the other."""
    closes: dict[str, list[float]] = {}
    for read in CandleFiles(files).read(Findings(allow_gaps=True)):
        closes.setdefault(read.candle.symbol, []).append(read.candle.close)
    return np.concatenate([np.diff(np.log(one)) for one in closes.values()])


def shuffled(pool: Floats, seed: int) -> Floats:
    found: Floats = np.random.RandomState(seed).permutation(pool)[:CANDLES]
    return found


if __name__ == "__main__":
    raise SystemExit(main())
