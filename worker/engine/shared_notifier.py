"""One service manager for several loops: ready when all are, and alive while each of them is."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from marketstate.worker.engine.heartbeat import LoopStatus
from marketstate.worker.engine.systemd import SystemdNotifier
from marketstate.worker.setting_files import ReloadAnswer


class SharedNotifier:
    """Sends a beat when each loop has given one since the last: if one hangs, the watchdog notices,
    as it does with one loop.
    """

    def __init__(self, notifier: SystemdNotifier, names: Sequence[str]) -> None:
        self._notifier = notifier
        self._lock = threading.Lock()
        self._starting = set(names)
        self._silent = set(names)
        self._statuses: dict[str, object] = {}
        self._answers: dict[str, ReloadAnswer] = {}
        self._is_stopping = False
        self._names = names

    def of_each(self) -> "list[LoopNotifier]":
        return [LoopNotifier(self, name, self._notifier.longest_wait_s) for name in self._names]

    def ready(self, name: str) -> None:
        with self._lock:
            self._starting.discard(name)
            if not self._starting:
                self._notifier.ready()

    def alive(self, name: str, status: object) -> None:
        with self._lock:
            self._statuses[name] = status
            self._silent.discard(name)
            if not self._silent:
                self._silent.update(self._names)
                self._notifier.alive(self._in_words())

    def answer(self, name: str, answer: ReloadAnswer) -> None:
        """The last one sends them all: a setting is in force when it is for each loop."""
        with self._lock:
            self._answers[name] = answer
            if len(self._answers) == len(self._names):
                parts = zip(*self._answers.values(), strict=True)
                self._notifier.answer(ReloadAnswer(*map(self._told_by, parts)))
                self._answers = {}

    def stopping(self) -> None:
        with self._lock:
            if not self._is_stopping:
                self._is_stopping = True
                self._notifier.stopping()

    def _told_by(self, texts: Iterable[str]) -> str:
        """Each line once, and by whom, unless it is by all."""
        tellers: dict[str, list[str]] = {}
        for name, text in zip(self._answers, texts, strict=True):
            for line in text.splitlines():
                tellers.setdefault(line, []).append(name)
        return "\n".join(
            line if len(names) == len(self._names) else f"{', '.join(sorted(names))}: {line}"
            for line, names in tellers.items()
        )

    def _in_words(self) -> str:
        """The sums, then each loop that waits, and what for."""
        statuses = {name: self._statuses[name] for name in self._names}
        running = [each for each in statuses.values() if isinstance(each, LoopStatus)]
        sums = [str(LoopStatus.of_all(running))] if running else []
        waiting = [
            f"{name} {status}"
            for name, status in statuses.items()
            if not isinstance(status, LoopStatus)
        ]
        return "; ".join(sums + waiting)


class LoopNotifier:
    """The notifier of one of the loops."""

    def __init__(self, shared: SharedNotifier, name: str, longest_wait_s: float) -> None:
        self._shared = shared
        self._name = name
        self._is_ready = False
        self.longest_wait_s = longest_wait_s
        # Without a service manager, no beat is ever due.
        self._next_s = 0.0 if longest_wait_s < math.inf else math.inf

    def ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._shared.ready(self._name)

    def beat(self, status: Callable[[], object]) -> None:
        if time.monotonic() >= self._next_s:
            # Not while others have to wait for it: it asks Redis, which may not answer.
            told = status()
            self._shared.alive(self._name, told)
            self._next_s = time.monotonic() + self.longest_wait_s

    def answer(self, answer: ReloadAnswer) -> None:
        self._shared.answer(self._name, answer)

    def stopping(self) -> None:
        self._shared.stopping()
