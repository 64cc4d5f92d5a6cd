"""Ids of stream entries: bytes from Redis, or text from recordings."""

from marketstate.schemas.entry_id import entry_time_ms, parse_entry_id


def test_ids_are_ordered_by_time_and_number_and_not_as_text() -> None:
    ids = [b"9-0", b"10-2", b"10-10", b"1746373260000-0", b"18446744073709551615-1"]
    assert sorted(ids, key=parse_entry_id) == ids
    assert [parse_entry_id(entry_id.decode()) for entry_id in ids] == [*map(parse_entry_id, ids)]


def test_a_time_without_a_number_is_the_id_of_its_first_entry() -> None:
    assert parse_entry_id("1746373260000") == parse_entry_id("1746373260000-0")


def test_an_id_contains_the_time_when_its_entry_was_written() -> None:
    assert entry_time_ms(b"1746373260000-7") == 1_746_373_260_000
