"""What a running worker takes over when it reads its settings again, and what needs a restart.

Under systemd, `systemctl reload` runs `marketstate reload` with the environment file as it is now.
That hands the settings over in a file of the service, sends SIGHUP, and waits for the answer.
"""

import logging
from typing import Final

from msgspec.structs import replace

from marketstate.worker.errors import WorkerError
from marketstate.worker.log import log
from marketstate.worker.setting_files import ReloadAnswer
from marketstate.worker.settings import PREFIX, SECRETS, Settings, settings_handed_over

_TAKEN_OVER: Final = ("log_level", "publish_interval")
# A worker's id may hold its process id, and the parameters are compared by their hash.
_NOT_COMPARED: Final = (*SECRETS, "worker_id", "partition", "theta", "theta_file")


class Answer:
    """What becomes of new settings: each line goes to the log, and all of them to the command."""

    def __init__(self) -> None:
        self._in_force: list[str] = []
        self._not_in_force: list[str] = []

    def in_force(self, text: str) -> None:
        log.info(text)
        self._in_force.append(text)

    def not_in_force(self, text: str) -> None:
        log.warning(text)
        self._not_in_force.append(text)

    def changed(self, name: str, settings: Settings, new: Settings) -> None:
        before, after = getattr(settings, name), getattr(new, name)
        self.in_force(f"{PREFIX}{name.upper()} is now {after}; it was {before}")

    @property
    def lines(self) -> ReloadAnswer:
        return ReloadAnswer("\n".join(self._in_force), "\n".join(self._not_in_force))


def read_again(settings: Settings, answer: Answer) -> Settings:
    """Our settings from now on. The level of the log is already in force; another publish interval
    needs a session that has it.
    """
    try:
        new = settings_handed_over()
    except WorkerError as error:
        answer.not_in_force(f"the settings were not read again, and nothing changes: {error}")
        return settings
    if new is None:
        answer.not_in_force(
            "SIGHUP: the settings of this process came with its start, and nothing changes: "
            "restart it; under systemd, use systemctl reload"
        )
        return settings
    if names := _need_a_restart(settings, new):
        variables = ", ".join(PREFIX + name.upper() for name in names)
        answer.not_in_force(f"a change of {variables} needs a restart")
    taken = replace(_with_level(settings, new, answer), publish_interval=new.publish_interval)
    if taken == settings:
        answer.in_force("the settings were read again, and nothing that can change now has changed")
    return taken


def _with_level(settings: Settings, new: Settings, answer: Answer) -> Settings:
    if new.log_level == settings.log_level:
        return settings
    levels = logging.getLevelNamesMapping()
    # So that the line itself is not below the level.
    log.setLevel(min(levels[new.log_level], levels[settings.log_level], logging.INFO))
    answer.changed("log_level", settings, new)
    log.setLevel(new.log_level)
    return replace(settings, log_level=new.log_level)


def _need_a_restart(settings: Settings, new: Settings) -> list[str]:
    names = [
        name
        for name in settings.__struct_fields__
        if name not in (*_TAKEN_OVER, *_NOT_COMPARED)
        and getattr(settings, name) != getattr(new, name)
    ]
    if settings.theta_hash != new.theta_hash:
        names.append("theta_file")
    return names
