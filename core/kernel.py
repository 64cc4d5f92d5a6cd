"""The calculation compiled from C (`core/c`), if there was a compiler at the installation.

Only this module decides whether it is used. `core/by_numpy.py` gives the same bits; the two differ
only in speed.
"""

import ctypes
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marketstate.core.theta import Theta, minimum_length
from marketstate.core.volatility import LOGISTIC_BOUND, MAD_TO_SIGMA

Floats = NDArray[np.float64]

NAMES = ("sigma", "mu", "ts", "p_trend", "p_mr", "p_chop", "dp", "vr", "spike_proxy")
"""The columns of `state_rows`."""

_MU = NAMES.index("mu")
# ``enum outcome`` in kernel.c.
_NO_MEMORY, _BAD_PRICE = 1, 2
# The start of an array, which may be empty.
_START = ctypes.c_char * 0


class Parameters(ctypes.Structure):
    """The parameters for the compiled functions: ``struct theta`` in kernel.c."""

    _fields_ = (
        ("prices", ctypes.c_int64),
        ("eps", ctypes.c_double),
        ("vol_window", ctypes.c_int64),
        ("winsor_q_low", ctypes.c_double),
        ("winsor_q_high", ctypes.c_double),
        ("ewma_lambda", ctypes.c_double),
        ("sigma_floor", ctypes.c_double),
        ("spike_proxy_cap", ctypes.c_double),
        ("spike_center", ctypes.c_double),
        ("spike_scale", ctypes.c_double),
        ("mad_to_sigma", ctypes.c_double),
        ("logistic_bound", ctypes.c_double),
        ("trends", ctypes.c_int64),
        ("trend_windows", ctypes.POINTER(ctypes.c_int64)),
        ("trend_shares", ctypes.POINTER(ctypes.c_double)),
        ("regime_window", ctypes.c_int64),
        ("vr_k", ctypes.c_int64),
        ("softmax_temp", ctypes.c_double),
        *((f"{letter}{i}", ctypes.c_double) for letter in "abc" for i in (1, 2, 3)),
    )


def parameters(theta: Theta) -> Parameters:
    """Return `theta` for `state_rows`."""
    vol, trend, regime = theta["vol"], theta["trend"], theta["regime"]
    windows = trend["windows"] if trend["method"] == "theil_sen" else []
    total = math.fsum(trend["weights"])
    return Parameters(
        prices=minimum_length(theta),
        eps=theta["eps"],
        vol_window=vol["window"],
        **{name: value for name, value in vol.items() if name != "window"},
        mad_to_sigma=MAD_TO_SIGMA,
        logistic_bound=LOGISTIC_BOUND,
        trends=len(windows),
        trend_windows=(ctypes.c_int64 * len(windows))(*windows),
        trend_shares=(ctypes.c_double * len(windows))(
            *(weight / total for weight in trend["weights"][: len(windows)])
        ),
        regime_window=regime["window"],
        vr_k=regime["vr_k"],
        softmax_temp=regime["softmax_temp"],
        **regime["score"],
    )


def _load() -> ctypes.CDLL | None:
    try:
        library = _declared(ctypes.CDLL(str(Path(__file__).with_name("_kernel.so"))))
    except (OSError, AttributeError):
        # There was no compiler, or it was built for another machine or from another source.
        return None
    return library if library.size_of_theta() == ctypes.sizeof(Parameters) else None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    address, count = ctypes.c_void_p, ctypes.c_int64
    library.logs.argtypes = (address, count, address)
    library.logs.restype = None
    library.state_rows.argtypes = (address, count, count, ctypes.POINTER(Parameters), address)
    library.median_slopes.argtypes = (address, count, count, count, address)
    library.median_slopes.restype = count
    library.use_lanes.argtypes = (count,)
    library.use_lanes.restype = count
    library.size_of_theta.argtypes = ()
    library.size_of_theta.restype = count
    return library


_compiled = _load()


def is_compiled() -> bool:
    """Return whether the compiled functions are in use."""
    return _compiled is not None


def use_lanes(most: int) -> int:
    """Set how many integers the compiled functions compare at once, for tests and benchmarks.

    Returns
    -------
    int
        At most `most` [1]: 16 (AVX2, the default where the processor has it) or 8; 0
        if there is no compiled kernel.
    """
    return 0 if _compiled is None else int(_compiled.use_lanes(most))


def logs(prices: Floats) -> Floats:
    """Return natural logarithms, elementwise, from the C library.

    On some processors (AVX-512), numpy's own log differs from it in the last bit, and workers on
    two machines should publish the same bytes.
    """
    if _compiled is None:
        return np.fromiter(map(math.log, prices.ravel().tolist()), np.float64).reshape(prices.shape)
    prices = np.ascontiguousarray(prices)
    out = np.empty(prices.shape)
    _compiled.logs(_address(prices), prices.size, _address(out))
    return out


def state_rows(windows: Floats, theta: Parameters, mu: Floats | None = None) -> Floats | None:
    """Return the states of windows, or None if a price is not finite and above 0.

    Call it only if `is_compiled`.

    Parameters
    ----------
    windows : ndarray of shape (S, N), C-contiguous
        Closes [quote currency], oldest first; N at least ``theta.prices``.
    theta : Parameters
    mu : ndarray of shape (S,), optional
        The drift [1 per interval], if the method is not Theil-Sen.

    Returns
    -------
    ndarray of shape (S, 9), or None
        A row per window, a column for each of `NAMES`.
    """
    assert _compiled is not None
    out = np.empty((len(windows), len(NAMES)))
    if mu is not None:
        out[:, _MU] = mu
    outcome = _compiled.state_rows(_address(windows), *windows.shape, theta, _address(out))
    if outcome == _BAD_PRICE:
        return None
    if outcome == _NO_MEMORY:
        raise _no_memory()
    return out


def median_slopes(y: Floats) -> tuple[Floats, int]:
    """Return the median pairwise slope of each row; call it only if `is_compiled`.

    Parameters
    ----------
    y : ndarray of shape (S, n), C-contiguous rows
        Values at 0, 1, ..., n-1, finite; n >= 2.

    Returns
    -------
    slopes : ndarray of shape (S,)
        [y per step].
    calculated_n : int
        Rows [1] for which all slopes had to be calculated, which is slow.
    """
    assert _compiled is not None
    out = np.empty(len(y))
    stride = y.strides[0] // y.itemsize
    calculated_n = _compiled.median_slopes(_address(y), *y.shape, stride, _address(out))
    if calculated_n < 0:
        raise _no_memory()
    return out, calculated_n


def _address(array: Floats) -> int:
    """Return ``array.ctypes.data``, which alone would cost a single state a tenth of its time."""
    if array.flags.writeable and array.flags.c_contiguous:
        return ctypes.addressof(_START.from_buffer(array.data))
    return array.ctypes.data


def _no_memory() -> MemoryError:
    return MemoryError("not enough memory for the calculation; use shorter windows")
