"""What is said where the packages of an extra are needed and not installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from marketstate.worker.errors import ConfigurationError

PACKAGES: Final = {
    "view": ("matplotlib", "rich"),
    "metrics": ("prometheus_client",),
    "completion": ("shtab",),
}
# Where it is not an option of deploy.sh.
DEPLOYED: Final = {"completion": "scripts/deploy.sh has installed what it prints"}


@contextmanager
def without_extra(extra: str, what: str, instead: str = "") -> Iterator[None]:
    """Imports of its packages, for `what`. Raises ConfigurationError if one is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in PACKAGES[extra]:
            raise
        deployed = DEPLOYED.get(extra, f"scripts/deploy.sh --with-{extra}")
        raise ConfigurationError(
            f"{what} needs {missing}, which is not installed: it is in the extra `{extra}`, "
            f"pip install '.[{extra}]' in the checkout, or pip install "
            f"{' '.join(PACKAGES[extra])}; for quantum-marketstate, {deployed}{instead}"
        ) from None
