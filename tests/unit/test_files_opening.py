"""Files that the system cannot read now: no content is to blame, so nothing is thrown away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from marketstate.worker.errors import FileUnreadable
from marketstate.worker.files.opening import count_lines, lines_of
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
