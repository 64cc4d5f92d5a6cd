"""What the preflight finds, whatever the version of the server."""

from marketstate.worker.engine.preflight import preflight
from marketstate.worker.settings import Settings


def verdicts(settings: Settings) -> list[str]:
    """Without the one on the version, which some servers get."""
    return [each.verdict for each in preflight(settings) if each.subject != "version"]
