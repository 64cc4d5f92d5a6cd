"""What a running worker takes over when it reads its settings again, and what needs a restart.

Under systemd, `systemctl reload` runs `marketstate reload` with the environment file as it is now.
That hands the settings over in a file of the service, and sends SIGHUP.
"""

import logging
from typing import Final

from msgspec.structs import replace

from worker.errors import WorkerError
from worker.log import log
from worker.settings import NOT_HANDED_OVER, PREFIX, Settings, settings_handed_over

_TAKEN_OVER: Final = ("log_level", "publish_interval")
# A worker's id may hold its process id, and the parameters are compared by their hash.
_NOT_COMPARED: Final = (*NOT_HANDED_OVER, "worker_id", "partition", "theta", "theta_file")


def read_again(settings: Settings) -> Settings:
    """Our settings from now on. The level of the log is already in force; another publish interval
    needs a session that has it. What cannot change is logged.
    """
    try:
        new = settings_handed_over()
    except WorkerError as error:
        log.warning("the settings were not read again, and nothing changes: %s", error)
        return settings
    if new is None:
        log.warning(
            "SIGHUP: the settings of this process came with its start, and nothing changes: "
            "restart it; under systemd, use systemctl reload"
        )
        return settings
    _tell_what_needs_a_restart(settings, new)
    taken = replace(_with_level(settings, new), publish_interval=new.publish_interval)
    if taken == settings:
        log.info("the settings were read again, and nothing that can change now has changed")
    return taken


def tell_change(name: str, settings: Settings, new: Settings) -> None:
    before, after = getattr(settings, name), getattr(new, name)
    log.info("%s%s is now %s; it was %s", PREFIX, name.upper(), after, before)


def _with_level(settings: Settings, new: Settings) -> Settings:
    if new.log_level == settings.log_level:
        return settings
    levels = logging.getLevelNamesMapping()
    # So that the line itself is not below the level.
    log.setLevel(min(levels[new.log_level], levels[settings.log_level], logging.INFO))
    tell_change("log_level", settings, new)
    log.setLevel(new.log_level)
    return replace(settings, log_level=new.log_level)


def _tell_what_needs_a_restart(settings: Settings, new: Settings) -> None:
    names = [
        name
        for name in settings.__struct_fields__
        if name not in (*_TAKEN_OVER, *_NOT_COMPARED)
        and getattr(settings, name) != getattr(new, name)
    ]
    if settings.theta_hash != new.theta_hash:
        names.append("theta_file")
    if names:
        variables = ", ".join(PREFIX + name.upper() for name in names)
        log.warning("a change of %s needs a restart", variables)
