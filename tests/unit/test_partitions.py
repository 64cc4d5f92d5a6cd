"""Partitions: which one a symbol belongs to, and what its keys are called."""

import re
from collections import Counter
from pathlib import Path

import pytest

from marketstate.schemas.partitions import hash_of, partition_of, stream_of, tag
from marketstate.worker.keys import shard_of
from marketstate.worker.settings import PREFIX, Settings, settings_from

README = Path(__file__).parents[2] / "schemas" / "README.md"
SHARDS = 16


def settings(**given: str) -> Settings:
    return settings_from({PREFIX + name.upper(): value for name, value in given.items()})


def test_the_vectors_for_other_languages_are_right() -> None:
    _, heading, rest = README.read_text().partition("| symbol | number |")
    header, _, *rows = (heading + rest).partition("\n\n")[0].splitlines()
    counts = [int(cell) for cell in re.findall(r"of (\d+)", header)]
    assert len(rows) == 6
    for row in rows:
        symbol, number, *tags = re.findall(r"`(\S+)`", row)
        assert hash_of(symbol) == int(number, 16)
        assert [tag(partition_of(symbol, count)) for count in counts] == tags


def test_a_publisher_gets_the_stream_of_its_symbol() -> None:
    assert stream_of("BTCUSDT", 16) == "quantum:stream:market.klines:{p10}"
    assert stream_of("BTCUSDT", 256, "mine") == "mine:{p122}"
    assert stream_of("BTCUSDT", None, "mine") == "mine"


@pytest.mark.parametrize("partitions", [4, 16, 48])
def test_the_symbols_of_a_partition_are_spread_over_all_of_its_shards(partitions: int) -> None:
    """With the remainder twice, they would all be in a few of them."""
    symbols = [f"SYMBOL{i}" for i in range(200 * partitions)]
    of_first = [symbol for symbol in symbols if partition_of(symbol, partitions) == 0]
    found = Counter(shard_of(symbol, SHARDS, partitions) for symbol in of_first)
    assert len(found) == SHARDS


def test_without_partitions_or_with_one_a_shard_is_what_it_always_was() -> None:
    """A group of 0.1 has its symbols where it looks for them."""
    assert [shard_of(symbol, SHARDS) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")] == [10, 5, 0]
    assert settings().shard_of("BTCUSDT") == settings(partitions="1").shard_of("BTCUSDT") == 10


def test_without_partitions_no_key_has_a_tag() -> None:
    [alone] = settings().each_partition()
    assert [key for key in alone.keys.every(16, ["A"]) if "{" in key] == []
    assert alone.keys.absent is None
    assert alone.keys.meta == "quantum:marketstate-worker:marketstate:meta"


@pytest.mark.parametrize("source", ["candles", "synthetic"])
@pytest.mark.parametrize("namespace", ["", "a"])
@pytest.mark.parametrize("partitions", ["1", "3", "256"])
def test_every_key_of_a_partition_has_its_tag_and_no_other(
    partitions: str, namespace: str, source: str
) -> None:
    """So all of them are on one node of a Redis Cluster, and no script spans two."""
    given = settings(partitions=partitions, replay_namespace=namespace, source=source)
    every: list[str] = []
    for number, one in enumerate(given.each_partition()):
        keys = one.keys
        found = [*keys.every(2, ["BTCUSDT"]), keys.absent or "", keys.meta_of("other")]
        found += [keys.members_of_other_source, keys.meta_of_other_source]
        assert [re.findall(r"{.*}", key) for key in found] == [[f"{{p{number:02d}}}"]] * len(found)
        every += found
    assert len(set(every)) == len(every)


def test_the_names_of_keys_in_a_partition() -> None:
    keys = settings(partitions="16", input_stream="in", output_prefix="out:").of_partition(7).keys
    assert keys.input == "in:{p07}"
    assert keys.state("BTCUSDT") == "out:{p07}:BTCUSDT"
    assert keys.record("BTCUSDT") == "out-record:{p07}:BTCUSDT"
    assert keys.output_stream == "quantum:stream:marketstate:{p07}"
    assert keys.dead_stream == "quantum:stream:marketstate.dead:{p07}"
    assert keys.meta == "quantum:marketstate-worker:marketstate:{p07}:meta"
    assert keys.absent == "quantum:marketstate-worker:marketstate:{p07}:absent"
    synthetic = settings(partitions="16", source="synthetic").of_partition(7).keys
    assert synthetic.input == "quantum:stream:market.klines.synthetic:{p07}"
    assert synthetic.meta == "quantum:marketstate-worker:marketstate.synthetic:{p07}:meta"


def test_the_keys_of_all_partitions_at_once_cannot_be_asked_for() -> None:
    """They would be those of a group that does not exist."""
    with pytest.raises(ValueError, match="of which partition"):
        _ = settings(partitions="4").keys


def test_the_limit_on_symbols_is_for_all_partitions_together() -> None:
    given = settings(partitions="16", max_symbols="100")
    assert [one.most_symbols for one in given.each_partition()] == [7] * 16
    assert settings(max_symbols="100").most_symbols == 100
