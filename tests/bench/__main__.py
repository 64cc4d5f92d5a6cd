"""`scripts/bench`: what a state, a close and a worker cost, as tables and as JSON."""

import inspect
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.bench.breakdown import breakdown
from tests.bench.calculation import calculation
from tests.bench.comparison import (
    Earlier,
    NotAReport,
    missing,
    other_conditions,
    ratios,
    read_report,
)
from tests.bench.end_to_end import end_to_end
from tests.bench.failover import failover
from tests.bench.history import history
from tests.bench.idle import idle
from tests.bench.intervals import intervals
from tests.bench.latency import latency
from tests.bench.memory import memory
from tests.bench.options import parser as command_line
from tests.bench.peers import peers
from tests.bench.report import Row, machine, table
from tests.bench.startup import startup
from tests.bench.symbols import symbols
from tests.bench.takeover import takeover
from tests.bench.throughput import throughput
from tests.bench.watched import watched

BENCHES: Final[dict[str, Callable[[bool], list[Row]]]] = {
    "calculation": calculation,
    "end-to-end": end_to_end,
    "intervals": intervals,
    "peers": peers,
    "history": history,
    "breakdown": breakdown,
    "latency": latency,
    "symbols": symbols,
    "memory": memory,
    "startup": startup,
    "throughput": throughput,
    "takeover": takeover,
    "failover": failover,
    "idle": idle,
    "watched": watched,
}
RESULTS: Final = Path(".bench")
WIDTH: Final = 100


def main(arguments: list[str] | None = None) -> int:
    parser = command_line()
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHES]:
        parser.error(f"there is no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    if options.list:
        for name, bench in BENCHES.items():
            indent = " " * 13
            print(textwrap.fill(f"{name:12} {_about(bench)}", WIDTH, subsequent_indent=indent))
        return 0
    earlier = None
    if options.compare is not None:
        try:
            earlier = read_report(options.compare)
        except NotAReport as error:
            parser.error(f"--compare: {error}")
    began = datetime.now(UTC)
    path: Path = options.json or RESULTS / f"{began:%Y-%m-%dT%H-%M-%SZ}.json"
    report: dict[str, Any] = {
        "began": began.isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": machine(),
        "benches": {},
    }
    print("\n".join(f"{name}: {value}" for name, value in report["machine"].items()), flush=True)
    if earlier is not None:
        print(f"\nIn brackets: as many times as in {options.compare}")
        print(*other_conditions(report["machine"], options.quick, earlier), sep="\n", flush=True)
    for name in options.names or BENCHES:
        began_s = time.monotonic()
        rows = BENCHES[name](options.quick)
        took_s = time.monotonic() - began_s
        report["benches"][name] = {"took_s": round(took_s, 1), "rows": rows}
        about = textwrap.fill(f"{name} ({took_s:.0f} s): {_about(BENCHES[name])}", WIDTH)
        print(f"\n{about}\n\n{_results(rows, name, earlier)}", flush=True)
        # After each one, so that Ctrl-C loses only the current one.
        _write(path, report)
    print(f"\nwrote {path}")
    return 0


def _results(rows: list[Row], bench: str, earlier: Earlier | None) -> str:
    if earlier is None:
        return table(rows)
    before = earlier.rows(bench)
    return "\n".join([table(rows, ratios(rows, before)), *missing(rows, before)])


def _about(bench: Callable[[bool], list[Row]]) -> str:
    return " ".join((inspect.getdoc(bench) or "").split())


def _write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


if __name__ == "__main__":
    # Exit normally, so that servers and workers are ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if "--list" in sys.argv:
        # `head` may have seen enough. Only here: what has sockets needs the error instead.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
