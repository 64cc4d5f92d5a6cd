"""Which errors of redis-py a reader downstream retries, and which it raises."""

import socket

import pytest
from redis import exceptions

from marketstate.schemas.passing import passes


def cannot_connect(cause: Exception) -> Exception:
    """What a cluster client says that could not reach any node; these are raised from the last."""
    error = exceptions.RedisClusterException("Redis Cluster cannot be connected.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("Connection refused"),
        exceptions.TimeoutError("Timeout reading from socket"),
        exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.ClusterDownError("CLUSTERDOWN The cluster is down"),
        exceptions.TryAgainError("Multiple keys request during rehashing of slot"),
        exceptions.RedisClusterException("Redis Cluster cannot be connected."),
        cannot_connect(exceptions.ConnectionError("Connection refused")),
        exceptions.SlotNotCoveredError("Slot 1 is not covered by the cluster."),
        exceptions.ResponseError("UNBLOCKED force unblock from blocking operation"),
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError(),
        socket.gaierror(-3, "Temporary failure in name resolution"),
    ],
)
def test_what_passes_by_itself_is_retried(error: Exception) -> None:
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.AuthenticationError("invalid username-password pair"),
        exceptions.AuthorizationError(),
        exceptions.NoPermissionError("no permissions to access a key"),
        exceptions.ResponseError("WRONGTYPE Operation against a key"),
        exceptions.MovedError("3999 127.0.0.1:6381"),
        cannot_connect(exceptions.AuthenticationError("invalid username-password pair")),
        cannot_connect(exceptions.NoPermissionError("no permissions to run CLUSTER SLOTS")),
        cannot_connect(
            exceptions.RedisClusterException("Cluster mode is not enabled on this node")
        ),
        exceptions.DataError("Invalid input of type"),
        ValueError(),
    ],
)
def test_what_somebody_must_repair_is_raised(error: Exception) -> None:
    assert not passes(error)
