"""`marketstate worker` with a constant state: what everything except the calculation costs.

`rig` runs it as a process.
"""

import sys

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marketstate.core.state import MarketState
from marketstate.worker.cli import main

A_STATE = MarketState().rows(np.linspace(100.0, 101.0, 257)[np.newaxis])


def constant_states(_self: MarketState, windows: ArrayLike) -> NDArray[np.float64]:
    assert A_STATE is not None
    return np.tile(A_STATE, (len(np.asarray(windows)), 1))


if __name__ == "__main__":
    MarketState.rows = constant_states  # type: ignore[assignment,method-assign]
    sys.exit(main(["worker"]))
