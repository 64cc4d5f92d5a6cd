"""Workers that are broken on purpose: the checker must detect each.

The workers of every run use a copy of the packages, so that a run judges one version even if
someone edits the source tree meanwhile. A breakage is a change to the copy.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[3]


class BreakageOutdated(Exception):
    """The text that a breakage replaces does not occur exactly once."""


class Edit(NamedTuple):
    file: str
    old: str
    new: str


# Not broken, only faster: a symbol must be silent for a second, not for a day, before it retires.
HASTE: Final = [
    Edit(
        "worker/engine/retirement.py",
        "LONGEST_SILENCE_MS: Final = 86_400_000",
        "LONGEST_SILENCE_MS: Final = 1_000",
    )
]


@dataclass(frozen=True)
class Breakage:
    edits: Collection[Edit]
    faults: Collection[str]
    """The faults under which it must show."""
    times: int
    """How many faults are certain to make it show."""
    on_cluster: bool = False
    of_bridge: bool = False
    with_intervals: bool = False


BREAKAGES: Final = {
    # A commit no longer asks whether its leases are still held. (The id of the last commit would
    # show, too, that another worker has been at work.)
    "fencing": Breakage(
        [
            Edit("worker/lua/commit.lua", "if #lost > 1 then return lost end", ""),
            Edit("worker/lua/commit.lua", "if found ~= last_commit then", "if false then"),
        ],
        ["pause", "request late"],
        times=10,
    ),
    # Sometimes an entry stays with the intake until the next call, while newer entries of its
    # symbol are routed.
    "routing": Breakage(
        [
            Edit(
                "worker/lua/route.lua",
                "table.insert(read[shard], entry)",
                "if from == '0' or math.random() < 0.9 then table.insert(read[shard], entry) end",
            )
        ],
        ["kill"],
        times=2,
    ),
    # Acknowledges first, and publishes in a separate step. (An early acknowledgement alone is
    # harmless: the entries are found missing, and restored.)
    "commit": Breakage(
        [
            Edit(
                "worker/engine/plan.py",
                "if of_part:",
                "if False:",
            ),
            Edit(
                "worker/engine/commit.py",
                "def _tell(self, changes: Changes) -> None:",
                """def _tell(self, changes: Changes) -> None:
        from marketstate.schemas.market_state import encode_record, stream_fields
        for record in changes.records:
            fields = msgspec.structs.asdict(stream_fields(record, encode_record(record)))
            self._client.xadd(self._keys.output_stream, fields)""",
            ),
        ],
        ["reply lost"],
        times=6,
    ),
    # Memory has closes that the window in Redis lacks.
    "mirror": Breakage(
        [
            Edit(
                "worker/engine/plan.py",
                "window_codec.pack(zip(change.close_times_ms, change.closes, strict=True))",
                "window_codec.pack(pair for pair in zip(change.close_times_ms, change.closes)"
                " if pair[0] // 60_000 % 10)",
            )
        ],
        ["kill", "terminate"],
        times=2,
    ),
    # The entries of a symbol that is set aside are acknowledged, and nothing else.
    "quarantine": Breakage(
        [
            Edit(
                "worker/engine/pipeline.py",
                'changes.reject(entry, f"quarantined: {known.reason}")',
                "pass",
            )
        ],
        ["symbol damaged"],
        times=3,
    ),
    # A commit that broke off is completed twice.
    "half commit": Breakage(
        [
            Edit(
                "worker/lua/complete.lua",
                "local still_left, new_failure = carry_out(commands)",
                "local still_left, new_failure = carry_out(commands)\ncarry_out(commands)",
            )
        ],
        ["right taken away"],
        times=5,
    ),
    # Restoring goes back to before the start of the group.
    "floor": Breakage(
        [Edit("worker/lua/restore.lua", "redis.call('HGET', meta, 'start_id') or ''", "''")],
        ["consumer deleted at once"],
        times=1,
    ),
    # Close times are compared exactly: a candle of another feed is a new one.
    "two feeds": Breakage(
        [Edit("schemas/sequence.py", "if 2 * abs(after_ms) < interval_ms:", "if after_ms == 0:")],
        ["kill"],
        times=1,
    ),
    # A symbol that comes back so late goes on with its old window, unless it happens to be retired
    # already: states are published or not as the retirement comes first or not.
    "retirement": Breakage(
        [
            Edit(
                "worker/engine/beginnings.py",
                "return not last_close_time_ms or gap_ms >= self._too_long_ms",
                "return not last_close_time_ms",
            )
        ],
        ["symbols retire"],
        times=3,
    ),
    # Where the candle that ends a longer one is missing, nobody remembers the last one before it.
    "intervals": Breakage(
        [
            Edit(
                "worker/engine/longer_intervals.py",
                "known = None if is_forgotten or last_close is None else (last_ms, last_close)",
                "known = None",
            )
        ],
        ["kill"],
        times=1,
        with_intervals=True,
    ),
    # A commit that is refused while its slot moves is sent again later, to the new node, and is not
    # fenced: by then, another worker has the shard.
    "moved": Breakage(
        [
            Edit("worker/lua/commit.lua", "if #lost > 1 then return lost end", ""),
            Edit("worker/lua/commit.lua", "if found ~= last_commit then", "if false then"),
            Edit(
                "worker/engine/commit.py",
                "return self._scripts.commit(*self._plan(changes, commit_id))",
                """import time
        time.sleep(0.1)  # so that a move begins before a commit, and not before anything else
        plan = self._plan(changes, commit_id)
        scripts = self._scripts
        while True:
            try:
                return scripts.commit(*plan)
            except (redis.exceptions.AskError, redis.exceptions.TryAgainError):
                time.sleep(3)
                scripts = Scripts(open_client(self._settings, block_s=0), self._keys)""",
            ),
            Edit(
                "worker/engine/commit.py",
                "from marketstate.worker.store.scripts import Scripts",
                "import redis\nfrom marketstate.worker.store.connection import open_client\n"
                "from marketstate.worker.store.scripts import Scripts",
            ),
        ],
        ["slot moved"],
        times=10,
        on_cluster=True,
    ),
    # Now and then, what it has read at once reaches a partition the wrong way round.
    "bridge": Breakage(
        [
            Edit(
                "worker/commands/gather/bridge.py",
                "partition.append(fields.get(i, []), position)",
                "step = 1 if time.monotonic() % 1 < 0.9 else -1\n"
                "                partition.append(fields.get(i, [])[::step], position)",
            )
        ],
        ["bridge killed"],
        times=2,
        on_cluster=True,
        of_bridge=True,
    ),
}


def copy_code(folder: Path, breakage: str | None = None) -> Path:
    """The folder to run workers from. Raises BreakageOutdated."""
    code = folder / "code"
    packages = code / "marketstate"
    shutil.copytree(
        ROOT / "src/marketstate", packages, ignore=shutil.ignore_patterns("__pycache__")
    )
    for edit in [*HASTE, *(BREAKAGES[breakage].edits if breakage else ())]:
        _apply(edit, packages)
    return code


def _apply(edit: Edit, packages: Path) -> None:
    path = packages / edit.file
    text = path.read_text()
    if text.count(edit.old) != 1:
        raise BreakageOutdated(
            f"{edit.file} has {edit.old!r} {text.count(edit.old)} times; expected once: update "
            "tests/fault/chaos/breakages.py"
        )
    path.write_text(text.replace(edit.old, edit.new))
