"""Patterns of key names match what Redis matches."""

from itertools import product
from typing import Any

import pytest
import redis

from marketstate.worker.commands.gather.patterns import is_pattern, matches

NAMES = [
    "".join(letters)
    for length in range(1, 4)
    for letters in product("ab-]^*\\?", repeat=length)
    if length < 3 or letters[0] in "a]"
] + ["äb", "a\nb", "candles-BINANCE-BTC-USDT"]
PATTERNS = (
    *("*", "a*", "*a", "a*b", "a?b", "??", "a", "a\\*", "\\a", "a\\", "\\?*", "**b", "?"),
    *("[ab]", "[a-b]?", "[b-a]?", "[^a]", "[^a-b]*", "[a", "[a-", "[-a]", "[a-]", "[]a]", "[^]a]"),
    *("[\\]a]", "[a\\-b]", "[", "[^", "[]", "[^]", "a[", "[^^]", "[*]", "[a-b-]", "[ab]]", "[\\"),
    *("ä*", "?b", "??b", "a.b", "candles-*-*", "candles-B[A-Z]*-BTC-????", "(a|b)"),
)
pytestmark = pytest.mark.one_redis_version


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_the_keys_that_redis_finds(pattern: str, client: redis.Redis) -> None:
    client.mset(dict.fromkeys(NAMES, "1"))
    keys: Any = client.keys(pattern)
    assert {name for name in NAMES if matches(pattern, name)} == {key.decode() for key in keys}


def test_a_name_without_special_characters_is_not_a_pattern() -> None:
    assert not is_pattern("candles-BINANCE-BTC-USDT")
    assert is_pattern("candles-?")
