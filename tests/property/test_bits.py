"""`scripts/bits`: a little of it, and that it finds a bit that differs."""

from typing import Any

import numpy as np
import pytest

from marketstate.core import by_numpy, kernel
from tests.property.bits.__main__ import main
from tests.property.bits.blocks import block, blocks

pytestmark = pytest.mark.skipif(
    not kernel.is_compiled(), reason="there is no compiler on this machine"
)


def test_hard_windows_have_the_same_bits_in_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Protects G2: workers of one group may run on different processors."""
    checked = "gcc -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    assert main(["--windows", "3000", "--seed", "1", "--cc", checked]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "windows with AVX2 and without 3,000, in the program 3,000, by numpy 304, "
        "slopes by scipy 64: all bits are equal"
    )


def test_a_bit_that_differs_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = by_numpy.state_rows

    def wrong(*given: Any) -> Any:
        rows = right(*given)
        rows[3, 7] = np.nextafter(rows[3, 7], 9.0)
        return rows

    monkeypatch.setattr(by_numpy, "state_rows", wrong)
    assert main(["--windows", "600", "--seed", "5", "--numpy-every", "2"]) == 4
    told = capsys.readouterr().out
    assert "window 6, vr: 0x1." in told
    assert "to repeat: scripts/bits --seed 5 --block 0" in told
    assert main(["--seed", "5", "--block", "0"]) == 4


def test_a_program_that_ends_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--windows", "600", "--seed", "5", "--cc", "gcc -O0", "--under", "false"]) == 4
    assert "the program ended" in capfd.readouterr().out


def test_a_compiler_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cc", "no-such-compiler"]) == 2
    assert "No such file or directory: 'no-such-compiler'" in capsys.readouterr().out


def test_a_block_is_the_same_alone_and_within_a_run() -> None:
    last = [*blocks(3, 2_000)][-1]
    again = block(3, last.number)
    assert (again.about, again.theta) == (last.about, last.theta)
    assert again.windows[: len(last.windows)].tolist() == last.windows.tolist()
