"""Environment files of the services, as systemd reads them."""

from pathlib import Path

from marketstate.worker.settings import PREFIX


def environment_file(file: Path) -> tuple[dict[str, str], str]:
    """The variables in an environment file, and why it cannot be read. Without a file, neither."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, error.strerror or str(error)
    found = {}
    for line in map(str.strip, lines):
        name, _, value = line.partition("=")
        if name.strip().startswith(PREFIX):
            found[name.strip()] = _unquoted(value.strip())
    return found, ""


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value
