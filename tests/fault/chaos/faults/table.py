"""The table of faults."""

from typing import Final

from tests.fault.chaos.faults import (
    bookkeeping,
    bridges,
    caches,
    clocks,
    cluster,
    floor,
    foreign,
    monsters,
    network,
    retirement,
    rights,
    rollback,
    servers,
    symbols,
    upgrade,
    workers,
)
from tests.fault.chaos.stage import Fault

UPGRADE: Final = "upgrade"

TABLE: Final = {
    fault.name: fault
    for fault in (
        Fault("kill", 8, "worker", workers.kill),
        Fault("terminate", 5, "worker", workers.terminate),
        Fault("pause", 12, "worker", workers.pause),
        Fault("another worker", 4, "worker", workers.another_worker),
        Fault("one worker less", 4, "worker", workers.one_worker_less),
        Fault("redis killed, AOF", 5, "redis", servers.redis_killed_with_aof),
        Fault("redis rolled back", 4, "redis", servers.redis_back_from_old_snapshot, "one server"),
        Fault("redis rolled back, alive", 6, "redis", rollback.rolled_back_alive, "one server"),
        Fault("redis full", 5, "redis", servers.full_redis),
        Fault("failover", 4, "redis", servers.failover, "one server"),
        Fault(UPGRADE, 0, "redis", upgrade.upgrade, "one server"),
        Fault("scripts flushed", 5, "redis", servers.scripts_flushed),
        Fault("consumer deleted", 4, "redis", servers.consumer_deleted),
        Fault("consumer deleted at once", 0, "redis", floor.consumer_deleted_at_once),
        Fault("group deleted", 2, "everything", servers.group_deleted, "one server"),
        Fault("connection cut", 12, "network", network.cut),
        Fault("connection delayed", 8, "network", network.delay),
        Fault("reply lost", 12, "network", network.lost_reply),
        Fault("request late", 12, "network", network.late_request),
        Fault("right taken away", 8, "redis", rights.right_taken_away),
        Fault("command renamed", 3, "redis", rights.command_renamed, "one server"),
        Fault("symbol damaged", 10, "redis", symbols.symbol_damaged),
        Fault("window gone", 4, "redis", symbols.window_gone),
        Fault("bookkeeping damaged", 8, "redis", bookkeeping.bookkeeping_damaged),
        Fault("cache damaged", 5, "redis", caches.cache_damaged),
        Fault("clock of redis set", 6, "redis", clocks.clock_of_redis_set, "one server"),
        Fault("clock of worker set", 4, "worker", clocks.clock_of_worker_set),
        Fault("foreign read", 6, "redis", foreign.foreign_read, "without a bridge"),
        Fault("symbols retire", 5, "redis", retirement.symbols_retire),
        Fault("master killed", 12, "redis", cluster.master_killed, "cluster"),
        Fault("failover by hand", 10, "redis", cluster.failover_by_hand, "cluster"),
        Fault("node paused", 8, "redis", cluster.node_paused, "cluster"),
        Fault("slot moved", 14, "redis", cluster.slot_moved, "cluster"),
        Fault("clock of node set", 6, "redis", cluster.clock_of_node_set, "cluster"),
        Fault("bridge killed", 14, "worker", bridges.bridge_killed, "bridge"),
        Fault("monsters", 8, "redis", monsters.monsters_fed),
    )
}
