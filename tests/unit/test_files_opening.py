"""Files that the system cannot read now, whose content is not to blame, and damaged ones."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from marketstate.worker.errors import FileUnreadable
from marketstate.worker.files.opening import CutOff, count_lines, lines_of
from marketstate.worker.files.recordings import read_recording

# The first bytes of one give an input/output error, as those of a broken disk.
BROKEN: Final = {"a.csv": Path("/proc/self/mem"), "a.zip": Path("/proc")}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize(
    "read",
    [count_lines, lambda path: [*lines_of(path)], lambda path: [*read_recording(path)]],
    ids=["counted", "lines", "recording"],
)
def test_what_the_system_cannot_read_is_told_from_what_is_wrong_in_a_file(
    read: Callable[[Path], Any], name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.symlink_to(BROKEN[name])
    with pytest.raises(FileUnreadable, match=f"^cannot read {path}: "):
        read(path)


@pytest.mark.parametrize(
    "damaged",
    [lambda packed: packed[:-8] + bytes(8), lambda packed: packed + b"garbage"],
    ids=["another checksum", "garbage behind it"],
)
def test_a_damaged_gzip_file_is_read_up_to_there(
    damaged: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(damaged(gzip.compress(b"1\n2\n")))
    lines = lines_of(path)
    assert [next(lines), next(lines)] == ["1\n", "2\n"]
    with pytest.raises(CutOff, match=r"CRC check failed|Not a gzipped file"):
        next(lines)
    assert count_lines(path) <= 2
