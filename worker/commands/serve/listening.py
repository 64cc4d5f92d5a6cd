"""The one socket that we listen on: of loopback or in the file system, unless told otherwise."""

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from marketstate.worker.errors import ConfigurationError

DEFAULT: Final = "127.0.0.1:8043"


class Address(NamedTuple):
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @property
    def host(self) -> str:
        """As browsers write it."""
        return f"[{self.ip}]" if self.ip.version == 6 else str(self.ip)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def read_address(text: str) -> Address:
    """Raises ValueError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError
    return Address(ipaddress.ip_address("127.0.0.1" if host == "localhost" else host), int(port))


@contextmanager
def listening_at(where: Address | Path) -> Iterator[socket.socket]:
    """Raises ConfigurationError. A file is removed at the end."""
    with _in_file(where) if isinstance(where, Path) else _at(where) as listener:
        # From now on, who connects waits.
        listener.listen()
        yield listener


def _at(address: Address) -> socket.socket:
    family = socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address.ip), address.port))
    except OSError as error:
        listener.close()
        hint = ", or stop what listens there" if error.errno == errno.EADDRINUSE else ""
        raise ConfigurationError(
            f"cannot listen on {address}: {error.strerror}; choose another with --listen{hint}"
        ) from None
    return listener


@contextmanager
def _in_file(path: Path) -> Iterator[socket.socket]:
    """Who may connect, says the umask; see deploy/systemd/README.md, The page."""
    _remove_left_over(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {path}: {error.strerror or error}") from None
    bound = path.lstat()
    with listener:
        try:
            yield listener
        finally:
            _remove_own(path, bound)


def _remove_own(path: Path, bound: os.stat_result) -> None:
    """Not that of another one, which began while we ended."""
    with suppress(OSError):
        if os.path.samestat(path.lstat(), bound):
            path.unlink()


def _remove_left_over(path: Path) -> None:
    """The socket of one that was killed. Nothing else is removed."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(f"{path} is there and is no socket; name another with --unix")
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        try:
            attempt.connect(str(path))
        except ConnectionRefusedError:
            with suppress(OSError):
                path.unlink()
        except OSError:
            return  # to bind says why
        else:
            raise ConfigurationError(f"another process listens on {path}")
