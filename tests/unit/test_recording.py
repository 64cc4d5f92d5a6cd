"""The format of recordings, line by line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketstate.schemas.recording import (
    RecordedEntry,
    RecordingError,
    decode_entry,
    decode_header,
    encode_entry,
    encode_header,
)

PARTS = st.binary(max_size=20) | st.text(max_size=20).map(lambda text: text.encode())
FIELDS = st.lists(st.tuples(PARTS, PARTS), min_size=1, max_size=6)


@given(FIELDS)
def test_an_entry_is_encoded_in_one_line_and_decoded_unchanged(
    pairs: list[tuple[bytes, bytes]],
) -> None:
    """Binary or text, in order, with repeated names."""
    entry = RecordedEntry("1746373260000-7", [part for pair in pairs for part in pair])
    line = encode_entry(entry)
    assert decode_entry(line) == entry
    assert (line.count(b"\n"), line[-1:]) == (1, b"\n")


def test_lines_are_what_the_documentation_says() -> None:
    fields = [b"symbol", b"BTCUSDT", b"raw", b"\xff\x00", b"symbol", b""]
    expected = {
        "id": "5-0",
        "fields": [["symbol", "BTCUSDT"], ["raw", {"base64": "/wA="}], ["symbol", ""]],
    }
    assert json.loads(encode_entry(RecordedEntry("5-0", fields))) == expected
    header = {"format": "marketstate-recording", "version": 1, "stream": "quantum:stream:x"}
    assert json.loads(encode_header("quantum:stream:x")) == header
    assert decode_header(encode_header("quantum:stream:x")).stream == "quantum:stream:x"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "not a recording: it starts with ''"),
        (b"open_time,open\n", "not a recording: it starts with 'open_time,open"),
        (b'{"format":"other","version":1,"stream":"s"}\n', "its format is 'other'"),
        (b'{"format":"marketstate-recording","version":3,"stream":"s"}\n', "version 3; this"),
        (b'{"format":"marketstate-recording","version":2,"stream":"s"}\n', "partitions None"),
    ],
)
def test_what_is_not_a_recording_is_recognised_by_its_first_line(line: bytes, says: str) -> None:
    with pytest.raises(RecordingError, match=says):
        decode_header(line)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b'{"id":"5-0","fields":[]}\n',
        b'{"id":"5","fields":[["a","b"]]}\n',
        b'{"id":"0-0","fields":[["a","b"]]}\n',
        b'{"id":"05-0","fields":[["a","b"]]}\n',
        b'{"id":"5-0\\n","fields":[["a","b"]]}\n',
        b'{"id":"-5-0","fields":[["a","b"]]}\n',
        b'{"id":"5-*","fields":[["a","b"]]}\n',
        '{"id":"\u0665-0","fields":[["a","b"]]}\n'.encode(),
        b'{"id":"18446744073709551616-0","fields":[["a","b"]]}\n',
        b'{"id":"5-18446744073709551616","fields":[["a","b"]]}\n',
        b'{"id":"5-0","fields":[["a"]]}\n',
        b'{"id":"5-0","fields":[["a",1]]}\n',
        b'{"id":"5-0","fields":[["a",{"base64":"?"}]]}\n',
        b'{"id":"5-0","fields":[["a","\xff"]]}\n',
        b"[" * 5_000 + b"\n",
        b'{"id":"5-0","fields":[["a","b"]]}',
    ],
)
def test_what_is_not_an_entry_is_refused(line: bytes) -> None:
    with pytest.raises(RecordingError):
        decode_entry(line)
