"""The loops that numpy cannot do fast: compiled from kernel.c where possible, else in Python.

Only this module decides which version runs. Both give the same bits; they differ only in speed.
"""

import ctypes
import math
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _load() -> ctypes.CDLL | None:
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernel{suffix}")
        if path.exists():
            try:
                return _declared(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):
                # Built for another machine, or from another version of the source.
                return None
    return None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    address, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    library.logs.argtypes = (address, count, address)
    library.logs.restype = None
    library.ewma.argtypes = (address, count, count, number, address, address)
    library.ewma.restype = None
    library.median_slopes.argtypes = (address, count, count, count, address)
    library.median_slopes.restype = None
    return library


_compiled = _load()


def is_compiled() -> bool:
    """Return whether the compiled functions are in use."""
    return _compiled is not None


def logs(prices: Floats) -> Floats:
    """Return natural logarithms, elementwise, from the C library.

    On some processors (AVX-512), numpy's own log differs from it in the last bit, and workers on
    two machines should publish the same bytes.
    """
    if _compiled is None:
        return np.fromiter(map(math.log, prices.ravel().tolist()), np.float64).reshape(prices.shape)
    prices = np.ascontiguousarray(prices)
    out = np.empty(prices.shape)
    _compiled.logs(prices.ctypes.data, prices.size, out.ctypes.data)
    return out


def ewma(squares: Floats, lam: float, starts: Floats) -> Floats:
    """Return v after ``v = lam * v + (1 - lam) * square`` for each square of a row, oldest first.

    Parameters
    ----------
    squares : ndarray of shape (S, n)
    lam : float
        Weight of the previous v [1].
    starts : ndarray of shape (S,)
        Initial v of each row.

    Returns
    -------
    ndarray of shape (S,)
    """
    if _compiled is None:
        return np.array(
            [_ewma(*row, lam) for row in zip(starts.tolist(), squares.tolist(), strict=True)]
        )
    squares, starts = np.ascontiguousarray(squares), np.ascontiguousarray(starts)
    out = np.empty(len(squares))
    _compiled.ewma(squares.ctypes.data, *squares.shape, lam, starts.ctypes.data, out.ctypes.data)
    return out


def _ewma(start: float, squares: list[float], lam: float) -> float:
    v = start
    for square in squares:
        v = lam * v + (1.0 - lam) * square
    return v


def proven_median_slopes(y: Floats) -> Floats:
    """Return the median pairwise slope of each row, or nan where it could not be proven.

    A nan row needs `theil_sen.median_of_all_slopes`.

    Parameters
    ----------
    y : ndarray of shape (S, n), C-contiguous rows
        Values at 0, 1, ..., n-1, finite; n >= 2.

    Returns
    -------
    ndarray of shape (S,)
        Slopes [y per step]; all nan if there is no compiled kernel.
    """
    slopes = np.full(len(y), np.nan)
    if _compiled is not None and len(y) > 0:
        _compiled.median_slopes(
            y.ctypes.data, *y.shape, y.strides[0] // y.itemsize, slopes.ctypes.data
        )
    return slopes
