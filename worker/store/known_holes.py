"""Which versions of which server have known security holes in scripts.

From the release notes and security advisories of Redis, Valkey and Redict, as of November 2026.
Where several holes were closed together, one of them stands for all.
"""

from typing import Final

from marketstate.worker.store.server_version import ServerVersion

NEVER: Final = None
LUA: Final = "CVE-2025-49844"
REPLIES: Final = "CVE-2025-67733"
REPLICAS: Final = "CVE-2026-23631"
DEBUGGER: Final = "GHSA-fq2f-crmw-q97r"

# Of each series, the first version without the hole: `(7, 2)` and 11 is 7.2.11. NEVER: the series
# ended before.
FIRST_WITHOUT: Final[dict[tuple[str, tuple[int, int]], dict[str, int | None]]] = {
    ("Redis", (6, 2)): {LUA: 20},
    ("Redis", (7, 0)): {LUA: NEVER, REPLICAS: NEVER},
    ("Redis", (7, 2)): {LUA: 11, REPLICAS: 14},
    ("Redis", (7, 4)): {LUA: 6, REPLICAS: 9},
    ("Redis", (8, 0)): {LUA: 4, REPLIES: 6, REPLICAS: NEVER},
    ("Redis", (8, 2)): {LUA: 2, REPLICAS: 6},
    ("Redis", (8, 4)): {REPLICAS: 3},
    ("Redis", (8, 6)): {REPLICAS: 3},
    ("Redict", (7, 3)): {LUA: 6, REPLIES: NEVER, REPLICAS: NEVER},
    ("Valkey", (7, 2)): {LUA: 11, REPLIES: 12, REPLICAS: 13},
    ("Valkey", (8, 0)): {LUA: 6, REPLIES: 7, REPLICAS: 9},
    ("Valkey", (8, 1)): {LUA: 4, REPLIES: 6, REPLICAS: 7},
    ("Valkey", (9, 0)): {REPLIES: 2, REPLICAS: 4},
    ("Valkey", (9, 1)): {DEBUGGER: 2},
}


def known_holes(server: ServerVersion) -> str:
    """As a sentence; empty if none is known, also of a version that is newer than this table."""
    major, minor, patch = server.numbers
    known = FIRST_WITHOUT.get((server.name, (major, minor)), {})
    open_ones = [hole for hole, first in known.items() if first is NEVER or patch < first]
    if not open_ones:
        return ""
    firsts = [known[hole] for hole in open_ones]
    whole = [first for first in firsts if first is not NEVER]
    series = f"{server.name} {major}.{minor}"
    remedy = (
        f"upgrade to {series}.{max(whole)} or newer"
        if len(whole) == len(firsts)
        else f"no {series} is without, so upgrade to a newer series"
    )
    return (
        f"{server} has known security holes in scripts ({', '.join(open_ones)}), open to anyone "
        f"who may run scripts: {remedy}, unless your distribution has closed them without changing "
        "the version, as Debian does"
    )
