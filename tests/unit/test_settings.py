"""Every setting: its default, its limits, and the error for an invalid value."""

import os
import re
import socket
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from marketstate.core.theta import DEFAULT_THETA
from marketstate.worker.errors import ConfigurationError
from marketstate.worker.settings import PREFIX, Settings, settings_from, under_journal


def settings(**given: str) -> Settings:
    return settings_from({PREFIX + name.upper(): value for name, value in given.items()})


def refusal(**given: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        settings(**given)
    assert refused.value.exit_code == 2
    return str(refused.value)


DEFAULTS = {
    "symbols": "all",
    "publish_interval": 60,
    "window_size": 300,
    "candle_interval": "1m",
    "intervals": "",
    "rate_clock": "candle",
    "emit_on_regime_change": False,
    "source": "candles",
    "redis_host": "localhost",
    "redis_port": 6379,
    "redis_db": 0,
    "redis_username": None,
    "redis_password": None,
    "redis_password_file": None,
    "redis_url": "",
    "input_stream": "quantum:stream:market.klines",
    "max_ahead": 60,
    "group": "marketstate",
    "output_prefix": "quantum:marketstate:",
    "output_stream": "quantum:stream:marketstate",
    "output_maxlen": 10_000,
    "dead_stream": "quantum:stream:marketstate.dead",
    "dead_maxlen": 10_000,
    "shards": 16,
    "partitions": None,
    "start": "warm",
    "backfill_keys": "candles:{symbol}:1m,quantum:candles:{symbol},"
    "klines:{symbol}:1m,quantum:history:ohlcv:{symbol}:1m",
    "theta_file": None,
    "lease_seconds": 10.0,
    "batch": 500,
    "max_pending": 10_000,
    "retire_after": "30d",
    "max_gap": None,
    "max_symbols": 100_000,
    "worker_id": f"{re.sub(r'[^A-Za-z0-9._-]', '-', socket.gethostname())[:48]}-{os.getpid()}",
    "log_level": "INFO",
    "replay_namespace": "",
    "partition": None,
    "longer_interval": "",
    "theta": DEFAULT_THETA,
}
NO_VARIABLES = ("partition", "longer_interval", "theta")


def test_defaults_are_as_documented() -> None:
    assert msgspec.structs.asdict(settings_from({})) == DEFAULTS


def test_other_variables_do_not_matter() -> None:
    environ = {"PATH": "/bin", "REDIS_HOST": "elsewhere", "MARKETSTATES": "1"}
    assert settings_from(environ) == settings_from({})


@pytest.mark.parametrize("field", [name for name in DEFAULTS if name not in NO_VARIABLES])
def test_an_empty_value_counts_as_not_given(field: str) -> None:
    for empty in ("", "  ", "\t\n"):
        assert settings(**{field: empty}) == settings_from({}), repr(empty)


def test_whitespace_around_a_value_does_not_matter() -> None:
    assert settings(publish_interval=" 90\n").publish_interval == 90


TEXTS = ("a b", "a\tb", "{a}", "a" * 201)
BAD_VALUES: dict[str, tuple[str, ...]] = {
    "publish_interval": (
        "0",
        "-1",
        "604801",
        "60.5",
        "abc",
        "true",
        "1_0",
        "0x10",
        "nan",
        "9" * 99,
    ),
    "window_size": ("1", "0", "-300", "100001", "300.5", "many"),
    "candle_interval": (
        "60",
        "m",
        "0m",
        "1M",
        "1y",
        "01m",
        "10000m",
        "1.5h",
        "-1m",
        "1m,5m",
        "1\nm",
    ),
    "rate_clock": ("Candle", "redis", "true"),
    "emit_on_regime_change": ("yes", "on", "2", "tru"),
    "source": ("Candles", "redis", "true"),
    "redis_host": TEXTS,
    "redis_port": ("0", "-1", "65536", "6379.5", "redis"),
    "redis_db": ("-1", "1000001", "0.5", "zero"),
    "input_stream": TEXTS,
    "max_ahead": ("-1", "604801", "0.5", "1m"),
    "group": TEXTS,
    "output_prefix": TEXTS,
    "output_stream": TEXTS,
    "output_maxlen": ("0", "-1", "1000000001", "0.5", "all"),
    "dead_stream": TEXTS,
    "dead_maxlen": ("0", "-1", "1000000001", "0.5", "all"),
    "shards": ("0", "-1", "257", "1.5", "auto"),
    "partitions": ("0", "-1", "257", "1.5", "auto"),
    "start": ("cold", "WARM", "0"),
    "lease_seconds": ("0", "0.99", "-10", "3601", "nan", "inf", "-inf", "10s", "true"),
    "batch": ("0", "-1", "2001", "1.5", "all"),
    "max_pending": ("0", "-1", "10000001", "1.5", "all"),
    "retire_after": ("30", "0d", "-1d", "1.5d", "30 d", "1M", "10000d", "Never"),
    "intervals": ("5", "1m;5m", "1m,,5m", "1m,1M", "1m,5m,", "all", "5m 1h"),
    "max_gap": ("-1", "1000000001", "1.5", "never", "1h"),
    "max_symbols": ("0", "-1", "10000001", "1.5", "all"),
    "worker_id": ("a b", "a:b", "a" * 129, "é", "a/b", "a\nb"),
    "log_level": ("LOUD", "TRACE", "20"),
    "replay_namespace": ("a b", "a:b", "a*", "{a}", "a" * 65, "é", "a\nb"),
}
# Shown as ***: tests/unit/test_settings_passwords.py.
SECRET_WITH_BOUNDS = {"redis_url"}
# Lists, whose items are checked one by one.
LISTS = {"symbols", "backfill_keys"}


def test_the_table_of_bad_values_has_every_bounded_field() -> None:
    hints = get_type_hints(Settings, include_extras=True)
    bounded = {name for name, hint in hints.items() if "Meta(" in repr(hint)}
    assert bounded - SECRET_WITH_BOUNDS - LISTS == set(BAD_VALUES)


def described(field: str) -> str:
    """The description of what is allowed, wherever it is in the annotation."""

    def descriptions(hint: Any) -> list[str]:
        found = [getattr(meta, "description", None) for meta in getattr(hint, "__metadata__", ())]
        inner = [each for arg in get_args(hint) if get_origin(hint) for each in descriptions(arg)]
        return [text for text in found + inner if text]

    return descriptions(get_type_hints(Settings, include_extras=True)[field])[0]


@pytest.mark.parametrize(
    ("field", "bad"), [(field, bad) for field, values in BAD_VALUES.items() for bad in values]
)
def test_a_bad_value_is_refused_with_its_variable_and_what_is_allowed(field: str, bad: str) -> None:
    expected = f"MARKETSTATE_{field.upper()} is {bad!r}; allowed: {described(field)}"
    assert refusal(**{field: bad}) == expected


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("publish_interval", "1", 1),
        ("publish_interval", "604800", 604_800),
        ("window_size", "257", 257),
        ("window_size", "100000", 100_000),
        ("redis_port", "65535", 65_535),
        ("redis_db", "15", 15),
        ("shards", "1", 1),
        ("shards", "256", 256),
        ("batch", "2000", 2_000),
        ("lease_seconds", "1", 1.0),
        ("lease_seconds", "2.5", 2.5),
        ("start", "replay", "replay"),
        ("log_level", "DEBUG", "DEBUG"),
        ("log_level", "info", "INFO"),
        ("worker_id", "host@1.a_b-c", "host@1.a_b-c"),
        ("redis_username", "null", "null"),
    ],
)
def test_a_value_at_its_limit_is_accepted(field: str, text: str, value: object) -> None:
    assert getattr(settings(**{field: text}), field) == value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BATHC", "MARKETSTATE_BATHC is not a setting; did you mean MARKETSTATE_BATCH?"),
        ("SYMBOL", "MARKETSTATE_SYMBOL is not a setting; did you mean MARKETSTATE_SYMBOLS?"),
        ("THETA", "MARKETSTATE_THETA is not a setting; did you mean MARKETSTATE_THETA_FILE?"),
        ("XYZ", "MARKETSTATE_XYZ is not a setting; see deploy/README.md, Settings"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, expected: str) -> None:
    assert refusal(**{name: "1"}) == expected


def test_a_setting_that_nothing_ever_read_says_what_to_use_instead() -> None:
    """A template of the publisher that this worker replaces has it."""
    assert refusal(theta_override="{}") == (
        "MARKETSTATE_THETA_OVERRIDE is not a setting, and no version has ever read it: put the "
        "parameters to override into a JSON file, and name that in MARKETSTATE_THETA_FILE"
    )
    assert settings(theta_override="") == settings_from({})


COMMENTS = ("{}  # live", "{} #live", "{}# live", "{}\t#", "# none")


@pytest.mark.parametrize("field", [name for name in DEFAULTS if name not in NO_VARIABLES])
def test_a_comment_behind_a_value_is_refused_by_name(field: str) -> None:
    """systemd takes it as part of the value; some of these would be used so without a word."""
    for comment in COMMENTS:
        text = comment.format(DEFAULTS[field] or "value")
        shown = "***" if field in ("redis_password", "redis_url") else repr(text)
        said = refusal(**{field: text})
        expected = f"MARKETSTATE_{field.upper()} is {shown}; a comment needs a line of its own"
        assert said.startswith(expected)
        assert ("use MARKETSTATE_REDIS_PASSWORD_FILE" in said) == (field == "redis_password")


def test_a_number_sign_that_is_part_of_a_name_or_password_is_allowed() -> None:
    wanted = settings(symbols="@ES#,BTCUSDT").wanted_symbols
    assert frozenset({"@ES#", "BTCUSDT"}) == wanted
    assert settings(input_stream="a#b").input_stream == "a#b"
    assert settings(redis_password="#a#b").redis_password == "#a#b"


def test_symbols_are_a_list_or_all() -> None:
    assert settings(symbols="all").wanted_symbols is None
    wanted = settings(symbols=" BTCUSDT, ETHUSDT,,").wanted_symbols
    assert frozenset({"BTCUSDT", "ETHUSDT"}) == wanted
    assert settings(symbols="ALL").wanted_symbols is None


@pytest.mark.parametrize("symbols", [", ,", "A B", "A;B", '"A"', "all,A", "A,ALL"])
def test_symbols_in_another_notation_are_refused(symbols: str) -> None:
    """They would be a single symbol that never arrives, and all candles would be ignored."""
    allowed = "allowed: comma-separated symbols, or 'all'"
    assert refusal(symbols=symbols) == f"MARKETSTATE_SYMBOLS is {symbols!r}; {allowed}"


@pytest.mark.parametrize(
    ("interval", "ms"),
    [
        ("1s", 1_000),
        ("1m", 60_000),
        ("15m", 900_000),
        ("1h", 3_600_000),
        ("4h", 14_400_000),
        ("1d", 86_400_000),
        ("1w", 604_800_000),
    ],
)
def test_an_interval_in_ms(interval: str, ms: int) -> None:
    assert settings(candle_interval=interval).candle_interval_ms == ms


def test_durations_in_ms() -> None:
    found = settings(publish_interval="90", lease_seconds="1.5")
    assert (found.publish_interval_ms, found.lease_ms) == (90_000, 1_500)


@pytest.mark.parametrize(
    ("candle_interval", "publish_interval", "ttl_s"),
    [
        ("1m", "60", 600),
        ("1m", "90", 1_200),
        ("1s", "90", 900),
        ("1h", "60", 36_000),
        ("4h", "14401", 288_000),
        ("1w", "1", 6_048_000),
    ],
)
def test_a_published_hash_expires_after_ten_times_what_passes_between_two_states(
    candle_interval: str, publish_interval: str, ttl_s: int
) -> None:
    """At 1h candles it was gone for 50 minutes of every hour."""
    found = settings(candle_interval=candle_interval, publish_interval=publish_interval)
    assert found.state_ttl_s == ttl_s


@pytest.mark.parametrize(
    ("given", "minutes"),
    [
        ({}, 257 + 2),
        ({"max_gap": "0"}, 2),
        ({"max_gap": "5"}, 7),
        ({"max_gap": "5", "retire_after": "5m"}, 5.5),
        ({"max_gap": "1000000000"}, 43_200.5),
        ({"candle_interval": "1h"}, 259 * 60 - 29.5),
    ],
)
def test_a_window_starts_over_after_a_gap_of_more_candles_than_may_be_missing(
    given: dict[str, str], minutes: float
) -> None:
    """Half a candle less is enough, as in all comparisons of close times."""
    assert settings(**given).starts_over_after_ms == (minutes - 0.5) * 60_000


def test_a_host_name_of_any_kind_makes_a_worker_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("", "büro rechner/7", "h" * 255):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        worker_id = settings().worker_id
        assert worker_id.endswith(f"-{os.getpid()}")
        assert settings(worker_id=worker_id).worker_id == worker_id, "allowed if given"


def test_described_names_every_variable() -> None:
    found = settings(symbols="BTCUSDT", worker_id="w1").described()
    names = [part.partition("=")[0] for part in found.split(" ")]
    assert names == [name for name in DEFAULTS if name not in NO_VARIABLES]
    assert found.startswith("symbols=BTCUSDT publish_interval=60 window_size=300 ")
    assert "redis_password=- " in found


def test_journal_stream_means_that_the_journal_reads() -> None:
    assert under_journal({"JOURNAL_STREAM": "8:1"})
    assert not under_journal({})
