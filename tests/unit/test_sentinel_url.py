"""Parsing `redis+sentinel://` URLs. tests/fault/test_failover.py tests how they work."""

import pytest

from marketstate.worker.redis_url import SentinelUrl, sentinel_url

URLS = {
    "redis+sentinel://a/main": SentinelUrl([("a", 26_379)], "main", {}, "redis://a"),
    "rediss+sentinel://u:p%40@a:1,b,c:3/main/2?ssl_ca_certs=%2Fca.pem": SentinelUrl(
        [("a", 1), ("b", 26_379), ("c", 3)],
        "main",
        {},
        "rediss://u:p%40@a:1/2?ssl_ca_certs=%2Fca.pem",
    ),
    "redis+sentinel://[::1]:5,a/main?sentinel_username=u&sentinel_password=p%2F": SentinelUrl(
        [("::1", 5), ("a", 26_379)],
        "main",
        {"username": "u", "password": "p/"},
        "redis://[::1]:5",
    ),
}


@pytest.mark.parametrize(("url", "expected"), URLS.items())
def test_a_sentinel_url_is_split_into_its_parts(url: str, expected: SentinelUrl) -> None:
    assert sentinel_url(url) == expected


@pytest.mark.parametrize("url", ["redis://a", "rediss://a/0", "unix:///a+sentinel://b/c"])
def test_any_other_url_has_no_sentinels(url: str) -> None:
    assert sentinel_url(url) is None
