"""Parsing `redis+cluster://` URLs. tests/integration/test_cluster.py tests how they work."""

import pytest

from marketstate.worker.redis_url import ClusterUrl, check_url, cluster_url

URLS = {
    "redis+cluster://a": ClusterUrl([("a", 6_379)], "redis://a"),
    "redis+cluster://a,b:7001/": ClusterUrl([("a", 6_379), ("b", 7_001)], "redis://a/"),
    "rediss+cluster://u:p%40@a:1,b,c:3/0?ssl_ca_certs=%2Fca.pem": ClusterUrl(
        [("a", 1), ("b", 6_379), ("c", 3)], "rediss://u:p%40@a:1/0?ssl_ca_certs=%2Fca.pem"
    ),
    "redis+cluster://[::1]:7000,a?username=u": ClusterUrl(
        [("::1", 7_000), ("a", 6_379)], "redis://[::1]:7000?username=u"
    ),
}


@pytest.mark.parametrize(("url", "expected"), URLS.items())
def test_a_cluster_url_is_split_into_its_parts(url: str, expected: ClusterUrl) -> None:
    assert cluster_url(url) == expected
    check_url(url)


@pytest.mark.parametrize("url", ["redis://a", "rediss://a/0", "redis+sentinel://a/b", "unix:///a"])
def test_any_other_url_names_no_nodes(url: str) -> None:
    assert cluster_url(url) is None


@pytest.mark.parametrize("end", ["/1", "?db=1", "/?db=10", "/0?db=2"])
def test_a_cluster_has_one_database(end: str) -> None:
    with pytest.raises(ValueError, match="another database than 0"):
        check_url(f"redis+cluster://a,b:7001{end}")
    check_url(f"redis+cluster://a,b:7001{end.translate({ord(digit): '0' for digit in '12'})}")
