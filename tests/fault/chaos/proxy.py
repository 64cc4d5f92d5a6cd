"""A TCP proxy between workers and Redis that disturbs connections."""

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

BEGINS_WITH: Final = 32
"""Bytes: the name of a command is among them."""
MOST_BYTES: Final = 1 << 20
REST_OF_A_REQUEST_S: Final = 0.02


@dataclass(frozen=True, eq=False)
class Mischief:
    """Affects the next piece of data in its direction that is large enough."""

    what: Literal["cut", "delay", "lost reply", "late request"]
    """cut: `part` of the piece is forwarded, then the connection is closed.
    delay: the piece is delayed by `seconds`.
    lost reply: the request is forwarded; its reply is dropped, and the connection is closed.
    late request: the worker's connection is closed at once; Redis gets the request `seconds` later,
    when the worker has already continued without it.
    """
    direction: Literal["request", "reply"] = "request"
    at_least: int = 1
    """Bytes: large requests are commits. One that loads a script counts for nothing here."""
    part: float = 0.0
    seconds: float = 0.0


class Proxy:
    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._guard = threading.Lock()
        self._links: set[_Link] = set()
        self._armed: list[Mischief] = []
        self.lets_replicas_in = True
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def close(self) -> None:
        _close(self._listener)
        self.cut_all()

    def retarget(self, port: int) -> None:
        """As in a failover, none of the old connections survives."""
        self._target_port = port
        self.cut_all()

    def cut_all(self) -> None:
        with self._guard:
            links = list(self._links)
        for link in links:
            link.close()

    def keep_replicas_out(self) -> None:
        """From now on they fall behind, until `let_replicas_in`."""
        self.lets_replicas_in = False
        with self._guard:
            links = [link for link in self._links if link.is_replica]
        for link in links:
            link.close()

    def let_replicas_in(self) -> None:
        self.lets_replicas_in = True

    def arm(self, mischief: Mischief) -> None:
        with self._guard:
            self._armed.append(mischief)

    def disarm(self, mischief: Mischief) -> bool:
        """Whether it had not been applied yet."""
        with self._guard:
            waited = mischief in self._armed
            self._armed = [armed for armed in self._armed if armed is not mischief]
        return waited

    def is_armed(self, mischief: Mischief) -> bool:
        with self._guard:
            return mischief in self._armed

    def take(self, direction: str, piece: bytes) -> Mischief | None:
        """The mischief for this piece of data, if any."""
        size = 1 if b"SCRIPT" in piece[:BEGINS_WITH] else len(piece)
        with self._guard:
            for mischief in self._armed:
                if mischief.direction == direction and size >= mischief.at_least:
                    self._armed.remove(mischief)
                    return mischief
        return None

    def forget(self, link: "_Link") -> None:
        with self._guard:
            self._links.discard(link)

    def _accept(self) -> None:
        while True:
            try:
                worker, _ = self._listener.accept()
            except OSError:
                return
            try:
                redis = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                _close(worker)
                continue
            link = _Link(self, worker, redis)
            with self._guard:
                self._links.add(link)
            for carry in (link.carry_requests, link.carry_replies):
                threading.Thread(target=carry, name="link", daemon=True).start()


class _Link:
    """One connection of a worker, and its connection to Redis."""

    def __init__(self, proxy: Proxy, worker: socket.socket, redis: socket.socket) -> None:
        self._proxy = proxy
        self._worker = worker
        self._redis = redis
        self._drops_reply = False
        self.is_replica = False
        """The other end replicates: it is no worker, and no mischief is for it."""
        for side in (worker, redis):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        _close(self._worker)
        _close(self._redis)
        self._proxy.forget(self)

    def carry_requests(self) -> None:
        with suppress(OSError):
            while piece := self._worker.recv(MOST_BYTES):
                self.is_replica |= b"REPLCONF" in piece
                if self.is_replica and not self._proxy.lets_replicas_in:
                    break
                mischief = self._mischief("request", piece)
                if mischief and mischief.what == "late request":
                    self._deliver_late(piece, mischief.seconds)
                    return
                if mischief and mischief.what == "lost reply":
                    # A connection has one request at a time, so the next reply belongs to it.
                    self._drops_reply = True
                if not _carry(piece, self._redis, mischief):
                    break
        self.close()

    def carry_replies(self) -> None:
        with suppress(OSError):
            while piece := self._redis.recv(MOST_BYTES):
                mischief = self._mischief("reply", piece)
                if self._drops_reply or not _carry(piece, self._worker, mischief):
                    break
        self.close()

    def _mischief(self, direction: str, piece: bytes) -> Mischief | None:
        return None if self.is_replica else self._proxy.take(direction, piece)

    def _deliver_late(self, piece: bytes, seconds: float) -> None:
        """The other thread closes the link once Redis has answered."""
        self._worker.settimeout(REST_OF_A_REQUEST_S)
        with suppress(TimeoutError):
            while more := self._worker.recv(MOST_BYTES):
                piece += more
        _close(self._worker)
        time.sleep(seconds)
        self._redis.sendall(piece)


def _carry(piece: bytes, to: socket.socket, mischief: Mischief | None) -> bool:
    """False if the connection is to be closed."""
    if mischief and mischief.what == "cut":
        to.sendall(piece[: int(mischief.part * len(piece))])
        return False
    if mischief and mischief.what == "delay":
        time.sleep(mischief.seconds)
    to.sendall(piece)
    return True


def _close(side: socket.socket) -> None:
    """The shutdown wakes a thread that is reading from it."""
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
