"""Recording files: errors name the line, and a cut-off end can be repaired."""

import gzip
from pathlib import Path

import pytest

from marketstate.schemas import recording_lines
from marketstate.schemas.recording import RecordedEntry, encode_entry, encode_header
from marketstate.worker.errors import FileUnusable
from marketstate.worker.files.bad_lines import Skipped
from marketstate.worker.files.recording_writer import RecordingWriter
from marketstate.worker.files.recordings import read_recording

STREAM = "quantum:stream:market.klines"
ENTRIES = [RecordedEntry(f"{i}-0", [b"number", b"%d" % i]) for i in range(1, 21)]
LINES = [encode_header(STREAM), *map(encode_entry, ENTRIES)]


def entries_in(path: Path) -> list[RecordedEntry]:
    return [read.entry for read in read_recording(path)]


def written(path: Path, lines: list[bytes]) -> Path:
    content = b"".join(lines)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_a_recording_is_written_read_and_resumed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    writer = RecordingWriter.create(path, STREAM)
    writer.add(ENTRIES[:5])
    writer.close()
    writer, lasts = RecordingWriter.resume(path, STREAM)
    assert lasts[None] == ENTRIES[4]
    writer.add(ENTRIES[5:])
    writer.close()
    assert entries_in(path) == ENTRIES
    open_file = gzip.open if name.endswith(".gz") else open
    with open_file(path, "rb") as file:
        assert file.read().splitlines(keepends=True) == LINES


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_wherever_a_recording_is_cut_off_its_complete_entries_are_read_and_resumed(
    name: str, tmp_path: Path
) -> None:
    whole = written(tmp_path / name, LINES).read_bytes()
    path = tmp_path / f"cut-off-{name}"
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        skipped = Skipped()
        try:
            found = [read.entry for read in read_recording(path, skipped)]
        except FileUnusable as error:
            assert f"{path}, line 1: " in str(error)  # noqa: PT017, any length may end in the header
            found = []
        assert found == ENTRIES[: len(found)]
        writer, lasts = RecordingWriter.resume(path, STREAM)
        assert lasts.get(None) == (found[-1] if found else None), length
        writer.add(ENTRIES[len(found) :])
        writer.close()
        assert entries_in(path) == ENTRIES, length
    assert set(tmp_path.iterdir()) == {path, tmp_path / name}


def test_a_cut_off_end_is_reported_with_file_and_line(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl.gz", LINES)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(FileUnusable, match=rf"{path}, line 22: the file is cut off"):
        entries_in(path)
    plain = written(tmp_path / "a.jsonl", [*LINES[:3], LINES[3][:-1]])
    with pytest.raises(FileUnusable, match=rf"{plain}, line 4: the line is cut off"):
        entries_in(plain)


def test_broken_lines_are_refused_or_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_lines, "MAX_LINE_BYTES", 100)
    broken = {
        2: (b"text\n", "not an entry"),
        5: (LINES[2], "entry 2-0 comes after 3-0"),
        9: (b"x" * 350 + b"\n", "it has more than 100 bytes"),
        12: (LINES[10], "entry 10-0 comes twice"),
    }
    lines = list(LINES)
    for line, (content, _) in broken.items():
        lines[line - 1] = content
    path = written(tmp_path / "a.jsonl.gz", lines)
    skipped = Skipped()
    assert len(list(read_recording(path, skipped))) == len(ENTRIES) - 4
    report = "\n".join(skipped.report("left out"))
    for line, (_, says) in broken.items():
        assert f"{path}, line {line}: {says}" in report
    with pytest.raises(FileUnusable, match=f"{path}, line 2: not an entry"):
        entries_in(path)


@pytest.mark.parametrize(("partitions", "partition"), [(None, 0), (2, None), (2, 2)])
def test_an_entry_of_a_partition_that_the_recording_does_not_have_is_refused_or_counted(
    partitions: int | None, partition: int | None, tmp_path: Path
) -> None:
    good = None if partitions is None else 1
    entries = [RecordedEntry(f"{i}-0", [b"a", b"b"], good) for i in (1, 2)]
    other = RecordedEntry("3-0", [b"a", b"b"], partition)
    lines = [encode_header(STREAM, partitions), *map(encode_entry, (*entries, other))]
    path = written(tmp_path / "a.jsonl", lines)
    assert [read.entry for read in read_recording(path, Skipped())] == entries
    says = f"line 4: partition {partition}, in a recording of {partitions}"
    with pytest.raises(FileUnusable, match=says):
        entries_in(path)


def test_a_recording_damaged_in_the_middle_cannot_be_resumed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [*LINES[:3], b"text\n", *LINES[4:]])
    before = path.read_bytes()
    with pytest.raises(FileUnusable, match=r"line 4: not an entry.* record to another file"):
        RecordingWriter.resume(path, STREAM)
    assert path.read_bytes() == before


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl.gz", LINES)
    with pytest.raises(FileUnusable, match="already exists; continue it with --resume"):
        RecordingWriter.create(path, STREAM)
    with pytest.raises(FileUnusable, match=f"is a recording of {STREAM}, not of other"):
        RecordingWriter.resume(path, "other")
    writer, _ = RecordingWriter.resume(path, STREAM)
    with pytest.raises(FileUnusable, match="another recorder is writing"):
        RecordingWriter.resume(path, STREAM)
    writer.close()
    other = tmp_path / "notes.txt"
    other.write_text("dear diary\n")
    with pytest.raises(FileUnusable, match=r"line 1: not a recording: it starts with 'dear diary"):
        RecordingWriter.resume(other, STREAM)
    assert other.read_text() == "dear diary\n"
