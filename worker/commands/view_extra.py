"""What is said where the packages of the extra `view` are needed and not installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from worker.errors import ConfigurationError

PACKAGES: Final = ("matplotlib", "rich")


@contextmanager
def without_view_extra(what: str, instead: str = "") -> Iterator[None]:
    """Imports of them, for `what`. Raises ConfigurationError if one of them is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in PACKAGES:
            raise
        raise ConfigurationError(
            f"{what} needs {missing}, which is not installed: it is in the extra `view`, "
            f"pip install '.[view]' in the checkout, or pip install {' '.join(PACKAGES)}; for "
            f"quantum-marketstate, scripts/deploy.sh --with-view{instead}"
        ) from None
