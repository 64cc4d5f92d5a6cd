"""Joins the consumer group: creates it with its bookkeeping, or checks that we fit to it."""

from core.theta import theta_hash
from worker.errors import ConfigurationMismatch, GroupDeleted, RedisUnusable, ShardCountMismatch
from worker.log import log
from worker.scripts import Scripts
from worker.settings import PREFIX, Settings

FORMAT_VERSION = 1


def join(scripts: Scripts, settings: Settings) -> tuple[int, int]:
    """The entry id up to which candles only warm the windows.

    Raises GroupDeleted, ShardCountMismatch, ConfigurationMismatch or RedisUnusable.
    """
    keys = settings.keys
    fixed = {
        "format": FORMAT_VERSION,
        "input_stream": keys.input,
        "shards": settings.shards,
        "candle_interval": settings.candle_interval,
    }
    free = {
        "symbols": ",".join(sorted(settings.wanted_symbols or ["all"])),
        "publish_interval": settings.publish_interval,
        "window_size": settings.window_size,
        "theta_hash": theta_hash(settings.theta),
    }
    reply = scripts.setup(
        keys=[keys.input, keys.meta, keys.members],
        args=[
            keys.group,
            settings.start,
            settings.lease_ms,
            settings.worker_id,
            len(fixed),
            *(text for name, value in (fixed | free).items() for text in (name, str(value))),
        ],
    )
    verdict, *details = [part.decode() for part in reply]
    match verdict, *details:
        case "created", boundary:
            log.info("created the group %s on %s", keys.group, keys.input)
        case "joined", boundary:
            log.info("joined the group %s on %s", keys.group, keys.input)
        case "deleted", *_:
            raise GroupDeleted(
                f"the consumer group {keys.group!r} of {keys.input} has been deleted while "
                f"{keys.meta} is still there; see README, When the group is gone"
            )
        case "foreign", *_:
            raise RedisUnusable(
                f"{keys.input} has a group {keys.group!r} that no marketstate worker created; "
                f"choose another {PREFIX}GROUP"
            )
        case "fixed", "shards", found:
            raise ShardCountMismatch(
                f"{PREFIX}SHARDS is {settings.shards}, but the group {keys.group!r} was created "
                f"with {found}; set it to {found}, or choose another {PREFIX}GROUP"
            )
        case "fixed", name, found:
            raise ConfigurationMismatch(
                f"the group {keys.group!r} was created with {name} {found!r}, this worker has "
                f"{fixed[name]!r}; change it back, or choose another {PREFIX}GROUP"
            )
        case "running", name, found, other:
            raise ConfigurationMismatch(
                f"the group {keys.group!r} works with {name} {found!r}, this worker has "
                f"{free[name]!r}; give all its workers the same, or stop {other!r} and all "
                "others first"
            )
        case _:
            raise AssertionError(f"setup.lua answered {reply!r}")
    ms, _, seq = boundary.partition("-")
    return int(ms), int(seq)
