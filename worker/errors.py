"""What can go wrong that a user can mend: each error names the fact and carries its exit code."""


class WorkerError(Exception):
    """Ends the program with one clear line and `exit_code`, never with a traceback."""

    exit_code = 1


class ConfigurationError(WorkerError):
    """A setting, a theta file or a command line that cannot be used."""

    exit_code = 2


class FileUnusable(ConfigurationError):
    """A file of candles, or a recording, that cannot be read or written."""


class ConfigurationMismatch(ConfigurationError):
    """This worker's settings differ from those that its group was created or is running with."""


class ShardCountMismatch(ConfigurationMismatch):
    """The group was created with another number of shards."""


class WorkerIdInUse(ConfigurationError):
    """Another living worker of the group has the same id."""


class RedisUnusable(WorkerError):
    """Redis does not answer, refuses this client, or is not what the worker needs."""

    exit_code = 3


class GroupDeleted(RedisUnusable):
    """The consumer group or its bookkeeping was deleted while workers need it."""


class WrongKeyType(RedisUnusable):
    """A key that the worker needs holds another type of value."""


class CheckFailed(WorkerError):
    """A check or verification came to a bad end."""

    exit_code = 4


class LeaseLost(Exception):
    """This worker no longer holds some shards; nothing of its commit was written."""

    def __init__(self, shards: list[int]) -> None:
        super().__init__(f"the lease of shard {', '.join(map(str, shards))} is lost")
        self.shards = shards
