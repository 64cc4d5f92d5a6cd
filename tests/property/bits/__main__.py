"""`scripts/bits`: compares the states of hard windows, however they are calculated, bit by bit."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from marketstate.core import kernel
from marketstate.core.state import MarketState
from tests.property.bits import options
from tests.property.bits.blocks import Block, block, blocks
from tests.property.bits.program import Program, ProgramEnded
from tests.property.bits.ways import by_kernel, by_numpy, differences, slope_differences

EQUAL, WRONG_OPTIONS, DIFFERENT = 0, 2, 4
TELL_EVERY_S: Final = 30
MOST_SHOWN: Final = 12


def main(arguments: list[str] | None = None) -> int:
    chosen = options.parser().parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    if not kernel.is_compiled():
        print("the kernel is not compiled here: apt-get install gcc libc6-dev, then scripts/test")
        return DIFFERENT
    if kernel.use_lanes(16) < 16:
        print("this processor has no AVX2")
    with ExitStack() as stack:
        program = None
        if chosen.cc:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                program = stack.enter_context(Program(chosen.cc, chosen.under, folder))
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"--cc or --under: {error}")
                return WRONG_OPTIONS
        try:
            return _run(chosen, program)
        finally:
            kernel.use_lanes(16)


def _run(chosen: argparse.Namespace, program: Program | None) -> int:
    compared: Counter[str] = Counter()
    told_s = time.monotonic()
    made = (
        blocks(chosen.seed, chosen.windows)
        if chosen.block is None
        else [block(chosen.seed, chosen.block)]
    )
    for each in made:
        try:
            wrong = _compare(each, chosen, program, compared)
        except ProgramEnded:
            wrong = ["the program ended"]
        if wrong:
            print(f"block {each.number} ({each.about}; theta {each.theta}):")
            print("\n".join(wrong[:MOST_SHOWN]))
            print(f"to repeat: scripts/bits --seed {chosen.seed} --block {each.number}")
            return DIFFERENT
        if time.monotonic() - told_s > TELL_EVERY_S:
            told_s = time.monotonic()
            print(_told(compared), flush=True)
    print(f"{_told(compared)}: all bits are equal")
    return EQUAL


def _compare(
    each: Block, chosen: argparse.Namespace, program: Program | None, compared: Counter[str]
) -> list[str]:
    """What differs. Counts windows as they are compared."""
    rows = by_kernel(each, 16)
    wrong = differences("without it", rows, by_kernel(each, 8))
    compared["with AVX2 and without"] += len(rows)
    if program is not None:
        lanes = (8, 16)[each.number % 2]
        theta = MarketState(each.theta).theta
        wrong += differences("in the program", rows, program.rows(each.windows, theta, lanes))
        compared["in the program"] += len(rows)
    by_twin = by_numpy(each, chosen.numpy_every)
    wrong += differences("by numpy", rows, by_twin, chosen.numpy_every)
    compared["by numpy"] += len(by_twin)
    wrong += slope_differences(each, chosen.scipy_every)
    compared["slopes by scipy"] += len(rows[:: chosen.scipy_every])
    return wrong


def _told(compared: Counter[str]) -> str:
    return "windows " + ", ".join(f"{way} {count:,}" for way, count in compared.items())


if __name__ == "__main__":
    sys.exit(main())
