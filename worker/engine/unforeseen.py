"""Errors that nobody has foreseen: which errors those are, and how they are reported (G9)."""

import traceback
from pathlib import Path
from typing import Final

import redis

from marketstate.worker.errors import LeaseLost, RolledBack, SymbolsDamaged, WorkerError

FORESEEN: Final = (redis.RedisError, WorkerError, LeaseLost, RolledBack, SymbolsDamaged)
"""Whatever else is raised while a batch is calculated is a mistake of ours."""


def reason_of(error: Exception) -> str:
    """Why a symbol is set aside, or an entry rejected, for which the calculation failed."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"internal error: {type(error).__name__}: {str(error)[:200]!r} in "
        f"{Path(place.filename).name}, line {place.lineno}; please report it (what Redis "
        "holds of the symbol is not damaged: the next worker that takes its shard tries it again)"
    )
