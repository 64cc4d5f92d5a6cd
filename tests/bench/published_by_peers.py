"""What the peers of a worker publish of a state: hash, output entry and line in the log."""

import logging
from typing import Any, Final

from marketstate.core.theta import DEFAULT_THETA
from tests.bench.state_by_scipy import state_by_scipy

HASH: Final = "quantum:marketstate:"
EXPIRE_S: Final = 600
MAXLEN: Final = 10_000
log: Final = logging.getLogger("peer")


def hash_and_entry(symbol: str, closes: Any, timestamp_s: int) -> tuple[dict[str, str], Any]:
    """The fields of both, after the line in the log."""
    state = state_by_scipy(closes, DEFAULT_THETA)
    regime = max(("trend", "mr", "chop"), key=lambda name: state[f"p_{name}"])
    text = {
        name: f"{value:.8f}" if name in {"sigma", "mu"} else f"{value:.6f}"
        for name, value in state.items()
    }
    entry = {name: text[name] for name in ("ts", "sigma", "mu")}
    entry |= {"symbol": symbol, "regime": regime, "timestamp": str(timestamp_s)}
    log.info(
        f"{symbol}: σ={state['sigma']:.6f} μ={state['mu']:.6f} TS={state['ts']:.4f} "
        f"regime={regime}({state[f'p_{regime}']:.1%}) buffer={len(closes)}"
    )
    return text | {"ts_timestamp": str(timestamp_s), "buffer_size": str(len(closes))}, entry
