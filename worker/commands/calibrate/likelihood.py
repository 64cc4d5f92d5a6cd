"""The weights that make what followed most likely: a multinomial logistic regression.

The scores are linear in the nine weights, so the mean negative log-likelihood is convex and has one
minimum. The temperature divides all scores, so it is no tenth unknown: it stays 1.

Adding the same to all three scores changes no probability. So the likelihood is flat where a3 and
c3 fall as b1 rises; and, if ts is never above 1, in a second direction through the weights of ts
and dp. A ridge that is too small to matter elsewhere chooses the smallest weights.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from marketstate.worker.errors import ConfigurationError

Floats = NDArray[np.float64]

RIDGE: Final = 1e-6
_FLAT: Final = 1e-6
NAMES: Final = tuple(f"{term}{i}" for term in "abc" for i in (1, 2, 3))


def terms(ts: Floats, dp: Floats, vr: Floats) -> Floats:
    """What the nine weights multiply, of shape (3 scores, 3 weights, states).

    `marketstate.core.regime.regime_scores` is the formula.
    """
    off_walk, zero = np.abs(vr - 1.0), np.zeros(len(ts))
    return np.array(
        [
            [ts, dp, zero - off_walk],
            [off_walk, zero - ts, zero - dp],
            [1.0 - dp, 1.0 - np.minimum(ts, 1.0), zero - off_walk],
        ]
    )


def log_probabilities(x: Floats, weights: Floats) -> Floats:
    """Of shape (3 scores, states). `weights` is of shape (3, 3)."""
    scores = np.einsum("jw,jwn->jn", weights, x)
    found: Floats = log_softmax(scores, axis=0)
    return found


def fitted(x: Floats, followed: NDArray[np.int64]) -> Floats:
    """The weights, of shape (3, 3). `followed` has the place of a score for each state.

    Raises ConfigurationError for states so unusual that there is no optimum to be found.
    """
    # Of equal size, so that the ridge weighs all alike and the steps have one scale.
    sizes = np.sqrt(np.mean(np.square(x), axis=2))
    sizes[sizes == 0] = 1.0
    happened = np.equal.outer(np.arange(len(x)), followed)
    count = x.shape[2]

    def loss(scaled: Floats) -> tuple[float, Floats]:
        logs = log_probabilities(x, scaled.reshape(sizes.shape) / sizes)
        slope = np.einsum("jwn,jn->jw", x, np.exp(logs) - happened) / (count * sizes)
        mean = -float(logs[happened].mean())
        return mean + RIDGE / 2 * float(scaled @ scaled), slope.ravel() + RIDGE * scaled

    def curvature(scaled: Floats) -> Floats:
        probs = np.exp(log_probabilities(x, scaled.reshape(sizes.shape) / sizes))
        blocks = np.empty((*sizes.shape, *sizes.shape))
        for j in range(len(x)):
            for k in range(len(x)):
                common = probs[j] * ((j == k) - probs[k])
                blocks[j, :, k, :] = (x[j] * common) @ x[k].T / count
        blocks /= np.multiply.outer(sizes, sizes)
        found: Floats = blocks.reshape(scaled.size, scaled.size) + RIDGE * np.eye(scaled.size)
        return found

    best = minimize(
        loss, np.zeros(sizes.size), jac=True, hess=curvature, method="trust-exact", tol=1e-8
    )
    # It also stops where rounding lets it come no closer.
    if not best.success and np.abs(best.jac).max() > _FLAT:
        raise ConfigurationError(f"the weights could not be fitted to these states: {best.message}")
    weights: Floats = best.x.reshape(sizes.shape) / sizes
    return weights
