"""Errors that name the fact: some end the program with an exit code, workers handle the others."""


class WorkerError(Exception):
    """Ends the program with one clear line and `exit_code`, never with a traceback."""

    exit_code = 1


class ConfigurationError(WorkerError):
    """A setting, theta file or command line is invalid."""

    exit_code = 2


class FileUnusable(ConfigurationError):
    """A candle file or recording cannot be read or written."""


class FileUnreadable(FileUnusable):
    """The system cannot read it now, as on a network drive: its content is not to blame."""


class ConfigurationMismatch(ConfigurationError):
    """This worker's settings differ from those of its group."""


class ShardCountMismatch(ConfigurationMismatch):
    """The group was created with another number of shards."""


class PartitionCountMismatch(ConfigurationMismatch):
    """The group was created with another number of partitions."""


class WorkerIdInUse(ConfigurationError):
    """Another running worker of the group has the same id."""


class TwoSources(ConfigurationError):
    """Live workers with the other source of prices publish to the same keys."""


class RedisUnusable(WorkerError):
    """Redis does not answer, refuses this client, or does not meet the worker's needs."""

    exit_code = 3


class NoGroup(RedisUnusable):
    """No worker has created the consumer group yet."""


class GroupDeleted(RedisUnusable):
    """The consumer group or its meta key was deleted."""


class WrongKeyType(RedisUnusable):
    """A key that the worker needs holds a value of another type."""


class CommitBrokenOff(RedisUnusable):
    """Redis refused a command in the middle of a commit; the rest of the commit is stored."""


class CheckFailed(WorkerError):
    """A check or verification failed."""

    exit_code = 4


class RolledBack(Exception):
    """Redis is not where this worker left it, and the connection has not broken; the commit wrote
    nothing.
    """


class SymbolsDamaged(Exception):
    """Keys of some symbols cannot be written to; nothing of the commit was written."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(f"the keys of {', '.join(reasons)} are damaged")
        self.reasons = reasons


class LeaseLost(Exception):
    """This worker no longer holds some shards; its commit wrote nothing."""

    def __init__(self, shards: list[int]) -> None:
        super().__init__(f"the lease of shard {', '.join(map(str, shards))} is lost")
        self.shards = shards
