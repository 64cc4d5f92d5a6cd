"""What is said where the packages of an extra are needed and not installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from marketstate.worker.errors import ConfigurationError

PACKAGES: Final = {
    "view": ("matplotlib", "rich"),
    "metrics": ("prometheus_client",),
    "completion": ("shtab",),
    "web": ("starlette", "uvicorn", "prometheus_client"),
    "history": ("pyarrow",),
}

_DEPLOYED: Final = {
    extra: f"; for quantum-marketstate, scripts/deploy.sh {option}"
    for extra, option in {
        "view": "--with-view",
        "metrics": "--with-metrics",
        "web": "--with-page",
    }.items()
} | {"completion": "; for quantum-marketstate, scripts/deploy.sh has installed what it prints"}


@contextmanager
def without_extra(extra: str, what: str, instead: str = "") -> Iterator[None]:
    """Imports of its packages, for `what`. Raises ConfigurationError if one is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in PACKAGES[extra]:
            raise
        raise ConfigurationError(
            f"{what} needs {missing}, which is not installed: it is in the extra `{extra}`, "
            f"pip install '.[{extra}]' in the checkout, or pip install "
            f"{' '.join(PACKAGES[extra])}{_DEPLOYED.get(extra, '')}{instead}"
        ) from None
