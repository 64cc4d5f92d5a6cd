"""The nodes of a Redis Cluster die, pause and change places, and slots move between them."""

import json
import random
import time
from contextlib import suppress
from typing import Final

import redis

from tests.fault.chaos.entries import new_candle
from tests.fault.chaos.faults.clocks import clock_of_redis_set
from tests.fault.chaos.nodes import NODE_TIMEOUT_MS
from tests.fault.chaos.stage import LONGEST_STEP_S, Stage, Steps, Waiting, until, until_or
from tests.fault.chaos.trouble import HarnessTrouble
from tests.support.cluster_nodes import end_moving, keys_in, move_keys, start_moving

A_FAILOVER_S: Final = NODE_TIMEOUT_MS / 1_000 + 2.0
MOST_LOST: Final = 8
TRIES: Final = 3
BETWEEN_LOOKS_S: Final = 0.2
AT_ONCE: Final = (1, 3, 10)


def master_killed(stage: Stage, rng: random.Random) -> Steps:
    """Its replica takes over by itself, and may be behind; it comes back as a replica."""
    servers = stage.partition_servers
    master, replica = servers.master, servers.replica()
    if replica is None:
        return False
    if rng.random() < 0.7:
        yield from _fall_behind(stage, rng)
    stage.note(f"master on port {master.port} killed")
    master.kill()
    master.proxy.let_replicas_in()
    comes_back_at_once = rng.random() < 0.2
    if not comes_back_at_once:
        yield from until(lambda: servers.master is not master, "a replica has taken over")
        yield rng.uniform(0, 1)
    master.start_from_aof()
    yield from _settled(stage)
    return servers.master is not master


def failover_by_hand(stage: Stage, rng: random.Random) -> Steps:
    servers = stage.partition_servers
    master, replica = servers.master, servers.replica()
    if replica is None:
        return False
    how = rng.choice([(), ("FORCE",), ("TAKEOVER",)])
    stage.note(f"CLUSTER FAILOVER {' '.join(how)} on port {replica.port}")
    if how:
        yield from _fall_behind(stage, rng)
    for _ in range(TRIES):
        # The others may refuse their votes, as long as they do not know yet that it is a replica.
        with suppress(redis.ResponseError):  # it is a master by now
            replica.command("CLUSTER FAILOVER", *how)
        if (yield from until_or(lambda: servers.master is replica, A_FAILOVER_S)):
            break
    master.proxy.let_replicas_in()
    yield from _settled(stage)
    return servers.master is replica


def node_paused(stage: Stage, rng: random.Random) -> Steps:
    """For longer than the others wait, or not."""
    return (yield from pause_node(stage, rng.choice([0.3, 1.0, A_FAILOVER_S, 2 * A_FAILOVER_S])))


def pause_node(stage: Stage, seconds: float) -> Steps:
    """A master that wakes up believes that it is one still, and finds requests that were sent to it
    long ago.
    """
    master = stage.partition_servers.master
    stage.note(f"node on port {master.port} paused for {seconds} s")
    master.pause()
    yield seconds
    master.resume()
    yield from _settled(stage)
    return True


def slot_moved(stage: Stage, rng: random.Random) -> Steps:
    """Key by key, while workers and the feeder want to use it."""
    servers = stage.partition_servers
    source, slot = servers.master, servers.slot
    target = rng.choice(servers.other_masters())
    stage.note(f"slot {slot} moves from port {source.port} to {target.port}")
    start_moving(slot, source, target)
    yield rng.uniform(0, 0.3)
    while keys := keys_in(source, slot, rng.choice(AT_ONCE)):
        move_keys(keys, source, target)
        yield rng.choice([0.0, 0.0, 0.0, rng.uniform(0, 0.3)])
    yield rng.uniform(0, 0.3)
    end_moving(slot, source, target)
    yield from _settled(stage)
    return servers.master is target


def clock_of_node_set(stage: Stage, rng: random.Random) -> Steps:
    """By its clock, a node judges how long the others have been silent. So it is started again at
    the end, or it would not notice for minutes that one is dead.
    """
    master = stage.partition_servers.master
    moved = yield from clock_of_redis_set(stage, rng)
    stage.note(f"node on port {master.port} killed, to come back with the right time")
    master.kill()
    master.clock.set(0.0)
    master.start_from_aof()
    yield from _settled(stage)
    return moved


def _fall_behind(stage: Stage, rng: random.Random) -> Waiting:
    """What the master has in this time, its replica never gets: some candles, and all that the
    workers make of them.
    """
    stage.partition_servers.master.proxy.keep_replicas_out()
    for _ in range(rng.randint(1, MOST_LOST)):
        candle = new_candle(stage.new_symbol("LOST"), stage.feeder.first_close_ms)
        stage.act([("EXTRA", "payload", json.dumps(candle))])
        yield rng.uniform(0, 0.15)


def _settled(stage: Stage) -> Waiting:
    give_up_s = time.monotonic() + LONGEST_STEP_S
    while not stage.servers.are_settled():
        if time.monotonic() > give_up_s:
            raise HarnessTrouble("the cluster is not well again")
        yield BETWEEN_LOOKS_S
