"""The weights of a theta as an array, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marketstate.core.theta import Theta
from marketstate.worker.commands.calibrate.likelihood import NAMES

Floats = NDArray[np.float64]


def weights_in(theta: Theta) -> Floats:
    """Of shape (3, 3), with the temperature in them."""
    score, temp = theta["regime"]["score"], theta["regime"]["softmax_temp"]
    return np.array([score[name] for name in NAMES]).reshape(3, 3) / temp


def with_weights(theta: Theta, weights: Floats) -> Theta:
    """This theta with other weights, and the temperature in them."""
    score = dict(zip(NAMES, weights.ravel().tolist(), strict=True))
    regime: Any = {**theta["regime"], "score": score, "softmax_temp": 1.0}
    return {**theta, "regime": regime}
