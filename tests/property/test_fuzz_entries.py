"""Entries in every form, right or wrong, through a whole worker: each has exactly one end."""

from random import Random

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.fault.fuzz.entries import OddEntry, odd_entry
from tests.fault.fuzz.rig import Rig

# The generator of `scripts/fuzz`, which draws many more of them from one seed.
ODD_ENTRIES = st.builds(
    lambda seed, minute: odd_entry(Random(seed), minute),
    st.integers(0, 2**64 - 1),
    st.integers(0, 30),
)
NAMES = st.sampled_from([b"payload", b"data", b"symbol", b"close", b"close_time", b"interval"])
RANDOM_BYTES = st.dictionaries(
    NAMES | st.binary(max_size=8), st.binary(max_size=80), min_size=1
).map(lambda fields: [part for pair in fields.items() for part in pair])


@given(entries=st.lists(ODD_ENTRIES | RANDOM_BYTES, min_size=100, max_size=400))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
def test_every_entry_has_one_end_and_none_ends_the_worker(
    server: EmbeddedRedis, client: redis.Redis, entries: list[OddEntry]
) -> None:
    """G1, G5, G9: and the router and the reader agree on its symbol."""
    client.flushall()
    rig = Rig(server, client)
    try:
        assert rig.round(entries) == []
        assert rig.restart() == []
    finally:
        rig.close()
