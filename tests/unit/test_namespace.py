"""The keys of a replay: shared with no other group, and all removed at the end."""

from fnmatch import fnmatchcase

from marketstate.worker.keys import Keys
from marketstate.worker.settings import replay_names, settings_from

LIVE = settings_from({})
REPLAY = settings_from({}, namespace="marketstate")
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def every(keys: Keys) -> list[str]:
    return keys.every(16, SYMBOLS)


def test_a_replay_shares_no_key_with_another_group() -> None:
    """Not even if its name is that of the live group, or a prefix of another replay's name."""
    others = settings_from({}, namespace="marketstate.2")
    assert set(every(REPLAY.keys)) & set(every(LIVE.keys)) == set()
    assert set(every(REPLAY.keys)) & set(every(others.keys)) == set()
    patterns = (
        f"{LIVE.output_prefix}*",
        f"{LIVE.output_stream}*",
        f"{LIVE.keys.internal_prefix}:*",
    )
    assert [
        key
        for key in every(REPLAY.keys)
        if any(fnmatchcase(key, pattern) for pattern in (*patterns, "quantum:stream:*"))
    ] == []


def test_every_key_is_known_when_a_replay_is_removed() -> None:
    keys = REPLAY.keys
    single = {
        getattr(keys, name)
        for name in (*Keys.__dataclass_fields__, *vars(Keys))
        # A replay has no other source: those keys do not exist.
        if not (name.startswith("_") or "other_source" in name)
        and isinstance(getattr(keys, name), str)
    } - {keys.group, keys.internal_prefix, keys.output_prefix}
    shards = {build(shard) for build in (keys.lease, keys.marks) for shard in range(16)}
    of_symbols = (keys.window, keys.state, keys.record)
    symbols = {build(symbol) for build in of_symbols for symbol in SYMBOLS}
    assert set(every(keys)) == single | shards | symbols


def test_a_namespace_overrides_other_settings() -> None:
    names = replay_names("a")
    environ = {f"MARKETSTATE_{name.upper()}": "quantum:live" for name in names}
    environ |= {"MARKETSTATE_START": "new", "MARKETSTATE_OUTPUT_MAXLEN": "5"}
    environ |= {"MARKETSTATE_SOURCE": "synthetic", "MARKETSTATE_BACKFILL_KEYS": "c:{symbol}"}
    environ |= {"MARKETSTATE_RATE_CLOCK": "wall"}
    found = settings_from(environ | {"MARKETSTATE_REPLAY_NAMESPACE": "a"})
    assert {name: getattr(found, name) for name in names} == names
    assert (found.start, found.source, found.backfill_keys) == ("replay", "candles", "none")
    assert settings_from(environ, namespace="a") == found
    assert (found.rate_clock, found.output_maxlen) == ("candle", 10**9)
