"""Settings that are read from a file, or that depend on more than one variable."""

import json
import math
from pathlib import Path

import pytest

from marketstate.core.theta import DEFAULT_THETA
from marketstate.worker.engine.group import settings_differ, shared_settings
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.setting_files import MAX_BYTES
from marketstate.worker.settings import PREFIX, Settings, settings_from


def settings(**given: str) -> Settings:
    return settings_from({PREFIX + name.upper(): value for name, value in given.items()})


def refusal(**given: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        settings(**given)
    return str(refused.value)


def test_backfill_keys_are_patterns_or_none() -> None:
    assert len(settings().backfill_patterns) == 4
    assert settings(backfill_keys="none").backfill_patterns == ()
    assert settings(backfill_keys="a:{symbol}, b{symbol}").backfill_patterns == (
        "a:{symbol}",
        "b{symbol}",
    )
    expected = "MARKETSTATE_BACKFILL_KEYS contains 'b:1m'; each key must contain {symbol}"
    assert refusal(backfill_keys="a:{symbol},b:1m") == expected


def test_the_default_caches_are_not_read_for_another_interval() -> None:
    assert settings(candle_interval="5m").backfill_patterns == ()
    given = settings(candle_interval="5m", backfill_keys="c:{symbol}:5m")
    assert given.backfill_patterns == ("c:{symbol}:5m",)


def test_keys_of_caches_that_name_the_interval_are_those_of_each() -> None:
    several = settings(intervals="1m,5m,1h", backfill_keys="a:{symbol}:1m,b:{symbol}:{interval}")
    assert [each.backfill_patterns for each in several.each_interval] == [
        ("a:{symbol}:1m", "b:{symbol}:1m"),
        ("b:{symbol}:5m",),
        ("b:{symbol}:1h",),
    ]


def test_synthetic_candles_have_separate_keys() -> None:
    real, synthetic = settings().keys, settings(source="synthetic").keys
    assert synthetic.input == "quantum:stream:market.klines.synthetic"
    assert synthetic.internal_prefix == "quantum:marketstate-worker:marketstate.synthetic"
    assert {real.window("A"), real.meta, real.lease(0), real.marks(0), real.input}.isdisjoint(
        {
            synthetic.window("A"),
            synthetic.meta,
            synthetic.lease(0),
            synthetic.marks(0),
            synthetic.input,
        }
    )


@pytest.mark.parametrize(
    ("prefix", "key"),
    [
        ("quantum:", "quantum:stream:market.klines"),
        ("quantum:stream:marketstate", "quantum:stream:marketstate"),
        ("quantum:marketstate", "quantum:marketstate-worker:marketstate"),
        ("q", "quantum:stream:market.klines"),
    ],
)
def test_only_the_hash_of_a_symbol_may_have_the_output_prefix(prefix: str, key: str) -> None:
    expected = (
        f"MARKETSTATE_OUTPUT_PREFIX is {prefix!r}, but the key {key!r} starts with it too; "
        "choose a prefix that only the symbols' hashes have"
    )
    assert refusal(output_prefix=prefix) == expected


@pytest.mark.parametrize("prefix", ["states", "states.", "states-"])
def test_the_output_prefix_ends_in_a_colon_since_the_keys_of_records_follow_from_it(
    prefix: str,
) -> None:
    assert refusal(output_prefix=prefix) == (
        f"MARKETSTATE_OUTPUT_PREFIX is {prefix!r}; allowed: a prefix that ends in a colon, so that "
        f"the records at '{prefix}-record:SYMBOL' do not start with it too"
    )
    keys = settings(output_prefix="states:").keys
    assert (keys.state("A"), keys.record("A")) == ("states:A", "states-record:A")


@pytest.mark.parametrize(
    "given",
    [
        {"input_stream": "quantum:stream:marketstate"},
        {"dead_stream": "quantum:stream:marketstate"},
        {"output_stream": "quantum:stream:market.klines"},
        {"source": "synthetic", "dead_stream": "quantum:stream:market.klines.synthetic"},
    ],
)
def test_streams_must_differ(given: dict[str, str]) -> None:
    assert "_INPUT_STREAM, MARKETSTATE_OUTPUT_STREAM, MARKETSTATE_DEAD_STREAM must differ; " in (
        refusal(**given)
    )


@pytest.mark.parametrize("name", ["candles-*", "a,b", "candle?", "[ab]"])
def test_only_gather_reads_several_streams(name: str) -> None:
    assert refusal(input_stream=name).startswith(
        f"MARKETSTATE_INPUT_STREAM is {name!r}, a pattern or a list: only `marketstate gather` "
    )
    given = {"MARKETSTATE_INPUT_STREAM": name}
    assert settings_from(given, several_inputs=True).input_streams == name.split(",")


def test_the_window_must_be_as_long_as_theta_needs(tmp_path: Path) -> None:
    found = refusal(window_size="256")
    assert found.startswith("MARKETSTATE_WINDOW_SIZE is 256; allowed: at least 257, the longest ")
    path = tmp_path / "theta.json"
    path.write_text('{"vol": {"window": 400}}')
    assert "allowed: at least 401" in refusal(window_size="400", theta_file=str(path))
    assert settings(window_size="401", theta_file=str(path)).window_size == 401


def test_a_theta_file_is_merged_with_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "theta.json"
    path.write_text(json.dumps({"trend": {"method": "ols"}}))
    expected = DEFAULT_THETA | {"trend": DEFAULT_THETA["trend"] | {"method": "ols"}}
    assert settings(theta_file=str(path)).theta == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not valid JSON: Input data was truncated"),
        (b"eps: 1", "is not valid JSON: JSON is malformed"),
        (b"\xff", "is not UTF-8 text"),
        (b"[]", "found []; allowed: a mapping"),
        (b'{"volume": {}}', "theta: volume is not a parameter; did you mean vol?"),
        (b'{"vol": {"windw": 9}}', "theta: vol.windw is not a parameter; did you mean window?"),
        (b'{"vol": 5}', "theta: vol: found 5; allowed: a mapping"),
        (b'{"eps": "1"}', "theta: eps: found '1'; allowed: a number"),
        (b'{"vol": {"window": true}}', "theta: vol.window: found True; allowed: an integer"),
        (b'{"trend": {"weights": [1]}}', "theta: trend.weights: found [1.0]; allowed: a list"),
        (b'{"eps": 1e400}', "is not valid JSON: Number out of range"),
        (b"[" * 60_000, "is nested too deeply"),
        (b" " * (MAX_BYTES + 1), "has more than 65,536 bytes"),
    ],
)
def test_a_theta_file_that_cannot_be_used(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "theta.json"
    path.write_bytes(content)
    found = refusal(theta_file=str(path))
    assert found.startswith(f"MARKETSTATE_THETA_FILE: {path}")
    assert reason in found


def test_a_theta_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    expected = f"MARKETSTATE_THETA_FILE: cannot read {missing}: No such file or directory"
    assert refusal(theta_file=str(missing)) == expected
    assert "Is a directory" in refusal(theta_file=str(tmp_path))


def test_symbols_retire_after_two_intervals_at_least() -> None:
    assert settings(retire_after="2m").retire_after_ms == 120_000
    assert settings(retire_after="never", candle_interval="9w").retire_after_ms == math.inf
    expected = (
        "MARKETSTATE_RETIRE_AFTER is '30d'; allowed: at least two candle intervals of 3w, or never"
    )
    assert refusal(candle_interval="3w") == expected


def test_a_replay_starts_windows_over_but_retires_no_symbol() -> None:
    """G2: what is published is the same as by the live workers."""
    replay = settings(replay_namespace="a")
    assert (replay.retire_after_ms, replay.forgets_symbols) == (30 * 86_400_000, False)
    assert settings().forgets_symbols
    assert not settings(retire_after="never").forgets_symbols


def test_all_workers_of_a_group_must_agree_on_the_maximum_gap() -> None:
    """G2. As many as theta needs is the same, whether it is given or not."""
    assert shared_settings(settings(max_gap="257")) == shared_settings(settings())
    assert shared_settings(settings(max_gap="256")) == f"{shared_settings(settings())} max_gap=256"


def test_a_cluster_needs_partitions_and_has_one_database() -> None:
    url = "redis+cluster://a:7000,b"
    assert settings(redis_url=url, partitions="1").on_cluster
    assert not settings(redis_url="redis://a", partitions="1").on_cluster
    assert "so MARKETSTATE_PARTITIONS must be set: to 1 if" in refusal(redis_url=url)
    expected = "MARKETSTATE_REDIS_DB is 2; allowed: 0, the only one of a Redis Cluster"
    assert refusal(redis_url=url, partitions="4", redis_db="2") == expected


def test_longer_intervals_are_multiples_and_have_keys_of_their_own() -> None:
    found = settings(intervals="1w,5m,1m,1h", retire_after="90d")
    assert [each.candle_interval for each in found.longer] == ["5m", "1h", "1w"]
    assert found.each_interval == (found, *found.longer)
    five = found.longer[0]
    assert (five.candle_interval_ms, five.state_step_ms, five.state_ttl_s) == (
        300_000,
        300_000,
        3_000,
    )
    assert five.longer == ()
    keys = five.keys
    assert keys.output_stream == "quantum:stream:marketstate.5m"
    assert keys.state("A") == "quantum:marketstate.5m:A"
    assert keys.record("A") == "quantum:marketstate.5m-record:A"
    assert keys.window("A") == "quantum:marketstate-worker:marketstate:window.5m:A"
    assert keys.marks(7) == "quantum:marketstate-worker:marketstate:shard.5m:07"
    assert keys.meta == found.keys.meta
    assert not {*keys.of_interval(16, "A")} & {*found.keys.every(16, "A")}
    tagged = five.of_partition(3).keys
    assert tagged.state("A") == "quantum:marketstate.5m:{p03}:A"
    assert tagged.record("A") == "quantum:marketstate.5m-record:{p03}:A"
    assert tagged.output_stream == "quantum:stream:marketstate.5m:{p03}"
    assert tagged.window("A") == "quantum:marketstate-worker:marketstate:{p03}:window.5m:A"
    assert settings(intervals="1m").longer == settings().longer == ()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"intervals": "5m,1h"},
            "is '5m,1h'; it must contain MARKETSTATE_CANDLE_INTERVAL, which is 1m",
        ),
        (
            {"intervals": "5m,7m", "candle_interval": "5m"},
            "is '5m,7m', but 7m is not a multiple of 5m; candles of longer intervals are made of "
            "those of MARKETSTATE_CANDLE_INTERVAL",
        ),
        ({"intervals": "5m,1m", "candle_interval": "5m"}, "but 1m is not a multiple of 5m"),
        (
            {"intervals": "3d,3w", "candle_interval": "3d"},
            "but 3w does not begin when a candle of 3d does",
        ),
        ({"intervals": "1m,1h,60m"}, "1h and 60m are the same: name each interval once"),
        ({"intervals": "1m,1m"}, "1m and 1m are the same: name each interval once"),
    ],
)
def test_longer_intervals_that_cannot_be_made_are_refused(given: dict[str, str], why: str) -> None:
    assert f"MARKETSTATE_INTERVALS is '{given['intervals']}'" in refusal(**given)
    assert why in refusal(**given)


def test_a_symbol_may_not_retire_within_two_of_its_longest_candles() -> None:
    assert refusal(intervals="1m,3w") == (
        "MARKETSTATE_RETIRE_AFTER is '30d'; allowed: at least two candle intervals of 3w, or never"
    )


def test_no_other_stream_is_the_output_of_a_longer_interval() -> None:
    text = refusal(intervals="1m,5m", dead_stream="quantum:stream:marketstate.5m")
    assert "MARKETSTATE_OUTPUT_STREAM of 5m must differ" in text


def test_all_workers_of_a_group_have_the_same_intervals() -> None:
    assert shared_settings(settings(intervals="1m")) == shared_settings(settings())
    expected = f"{shared_settings(settings())} intervals=5m,1h"
    assert shared_settings(settings(intervals="1h,5m,1m")) == expected
    one, other = settings(intervals="1m,5m,1h"), settings(intervals="1m,1d")
    said = str(settings_differ(one, shared_settings(other), "stop them"))
    assert "runs with intervals=1m,1d, but here with intervals=1m,5m,1h; stop them" in said
    said = str(settings_differ(settings(), expected, "stop them"))
    assert "runs with intervals=1m,5m,1h, but here with the default;" in said
