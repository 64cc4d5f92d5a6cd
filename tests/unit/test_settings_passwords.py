"""Passwords: set once, by a variable, a file or a URL, and never shown."""

from pathlib import Path
from urllib.parse import quote

import pytest

from marketstate.worker.errors import ConfigurationError
from marketstate.worker.redis_url import masked_url
from marketstate.worker.settings import PREFIX, Settings, settings_from
from marketstate.worker.store import connection

SECRET = "s3cr€t p:w"  # in a URL it must be percent-encoded
QUOTED = quote(SECRET, safe="")


def settings(**given: str) -> Settings:
    return settings_from({PREFIX + name.upper(): value for name, value in given.items()})


def refusal(**given: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        settings(**given)
    return str(refused.value)


def password_used(of: Settings) -> object:
    """What redis-py will send."""
    return connection.connection_options(of, block_s=0).get("password")


def shows_secret(text: str) -> bool:
    return any(part in text for part in (SECRET, QUOTED, "s3cr"))


def test_a_password_from_a_variable() -> None:
    found = settings(redis_password=SECRET)
    assert password_used(found) == SECRET
    assert "redis_password=*** " in found.described()
    assert not shows_secret(found.described())


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_password_from_a_file(tmp_path: Path, mark: str, end: str) -> None:
    path = tmp_path / "password"
    path.write_text(mark + SECRET + end, newline="")
    found = settings(redis_password_file=str(path))
    assert password_used(found) == SECRET
    assert f"redis_password_file={path} " in found.described()
    assert not shows_secret(found.described())


def test_a_password_file_that_cannot_be_used(tmp_path: Path) -> None:
    empty, missing, binary = tmp_path / "empty", tmp_path / "missing", tmp_path / "binary"
    empty.write_text("\n")
    binary.write_bytes(b"\xff\xfe")
    name = "MARKETSTATE_REDIS_PASSWORD_FILE"
    assert (
        refusal(redis_password_file=str(empty))
        == f"{name}: {empty} is empty; it must contain the password"
    )
    assert (
        refusal(redis_password_file=str(missing))
        == f"{name}: cannot read {missing}: No such file or directory"
    )
    assert refusal(redis_password_file=str(binary)) == f"{name}: {binary} is not UTF-8 text"
    assert (
        refusal(redis_password_file="/dev/zero") == f"{name}: /dev/zero has more than 65,536 bytes"
    )


URLS = {
    f"redis://user:{QUOTED}@host": "redis://user:***@host",
    f"redis://:{QUOTED}@host:6380/2": "redis://:***@host:6380/2",
    f"rediss://user:{QUOTED}@host:6380/2?ssl_ca_certs=a": "user:***@host:6380/2?ssl_ca_certs=a",
    f"redis://host?password={QUOTED}&db=1": "redis://host?password=***&db=1",
    f"unix:///run/redis.sock?password={QUOTED}&db=1": "/run/redis.sock?password=***&db=1",
    f"unix:///run/redis.sock?db=1&p%61ssword={QUOTED}": "/run/redis.sock?db=1&password=***",
    f"unix://user:{QUOTED}@/run/redis.sock": "user:***@/run/redis.sock",
    f"redis+sentinel://user:{QUOTED}@a:26379,b/main/1": "user:***@a:26379,b/main/1",
    f"redis+cluster://user:{QUOTED}@a:7000,b/": "user:***@a:7000,b/",
    f"rediss+sentinel://:{QUOTED}@a,b/main?sentinel_password={QUOTED}&ssl_ca_certs=a": (
        "a,b/main?sentinel_password=***&ssl_ca_certs=a"
    ),
}


@pytest.mark.parametrize(("url", "masked"), URLS.items())
def test_a_password_in_a_url_is_used_and_never_shown(url: str, masked: str) -> None:
    found = settings(redis_url=url, partitions="1")  # a cluster needs them
    assert password_used(found) == SECRET
    assert masked in found.described()
    assert masked in connection.address(found)
    assert not shows_secret(found.described())
    assert not shows_secret(connection.address(found))


@pytest.mark.parametrize("url", ["redis://host:6380/2", "redis://user@host", "unix:///run/r.sock"])
def test_a_url_without_a_password_may_be_combined_with_one(url: str) -> None:
    found = settings(redis_url=url, redis_password=SECRET)
    assert password_used(found) == SECRET
    assert not shows_secret(found.described())


@pytest.mark.parametrize("url", URLS)
def test_a_password_both_in_the_url_and_elsewhere_is_refused_without_showing_it(url: str) -> None:
    found = refusal(redis_url=url, redis_password=SECRET)
    expected = (
        "the password is set by MARKETSTATE_REDIS_URL and MARKETSTATE_REDIS_PASSWORD; set it once"
    )
    assert found == expected


def test_a_password_and_a_password_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(SECRET)
    found = refusal(redis_password=SECRET, redis_password_file=str(path))
    expected = (
        "the password is set by MARKETSTATE_REDIS_PASSWORD and MARKETSTATE_REDIS_PASSWORD_FILE; "
        "set it once"
    )
    assert found == expected


@pytest.mark.parametrize(
    "url", [f"http://user:{QUOTED}@host", f"user:{QUOTED}@host", f"REDIS://:{QUOTED}@host"]
)
def test_a_url_of_another_kind_is_refused_without_showing_it(url: str) -> None:
    expected = (
        "MARKETSTATE_REDIS_URL is ***; "
        "allowed: a URL that starts with redis://, rediss://, unix://, redis+sentinel:// or "
        "redis+cluster://"
    )
    assert refusal(redis_url=url) == expected


UNUSABLE = {
    "a bracket in the password": "redis://user:s3cr[et@host",
    "a character that urllib refuses": "redis://user:s3cr℀et@host",
    "half an IPv6 address": "redis://:s3cret@[::1",
    "a port that is not a number": "redis://:s3cret@host:abc",
    "an impossible port": "redis://:s3cret@host:65536",
    "a slash in the password": "redis://:s3cr/et@host:6379/0",
    "a hash sign in the password": "redis://:s3cr#et@host:6379/0",
    "a question mark in the password": "redis://:s3cr?et@host:6379/0",
    "sentinels without the name of a master": "redis+sentinel://:s3cret@host,host2",
    "sentinels without a host": "redis+sentinel://:s3cret@/main",
    "a sentinel's port that is not a number": "redis+sentinel://:s3cret@host:abc/main/0",
    "an impossible port of a sentinel": "redis+sentinel://:s3cret@host,b:65536/main/0",
    "a database that is not a number": "redis+sentinel://:s3cret@host/main/db0",
    "a slash in the password, with sentinels": "redis+sentinel://:s3cr/et@host/main/0",
    "a bracket in the password, with sentinels": "redis+sentinel://:s3cr[et@host/main/0",
    "a cluster without a host": "redis+cluster://:s3cret@/0",
    "a node's port that is not a number": "redis+cluster://:s3cret@host:abc,b/",
    "an impossible port of a node": "redis+cluster://:s3cret@host,b:65536",
    "another path in a cluster": "redis+cluster://:s3cret@host/main",
    "a slash in the password, with a cluster": "redis+cluster://:s3cr/et@host",
    "an unknown parameter, with a cluster": "redis+cluster://:s3cret@host?nodes=1",
    "an unknown parameter, with sentinels": "redis+sentinel://:s3cret@host/main?sentinel=1",
}


@pytest.mark.parametrize("url", UNUSABLE.values(), ids=UNUSABLE)
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(url: str) -> None:
    """A URL that redis-py would reject or misread is a configuration error."""
    found = refusal(redis_url=url)
    assert "MARKETSTATE_REDIS_URL" in found
    assert not shows_secret(found)


@pytest.mark.parametrize(
    "url", ["redis://:s3cret@host?db=x", "rediss://:s3cret@h?ssl_check=s3cret"]
)
def test_a_url_that_redis_py_refuses_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MARKETSTATE_REDIS_URL cannot be used") as refused:
        connection.open_client(settings(redis_url=url), block_s=0)
    assert not shows_secret(str(refused.value))


def test_a_parameter_that_would_change_the_client_is_refused() -> None:
    found = refusal(redis_url="redis://host?decode_responses=true")
    assert found.startswith("MARKETSTATE_REDIS_URL has the parameter 'decode_responses'; allowed: ")


def test_the_password_of_a_tls_key_is_not_shown_either() -> None:
    assert not shows_secret(masked_url("rediss://host?ssl_password=s3cret"))


def test_a_mistyped_variable_is_named_without_its_value() -> None:
    found = refusal(redis_pasword=SECRET)
    assert "did you mean MARKETSTATE_REDIS_PASSWORD?" in found
    assert not shows_secret(found)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_password_from_a_systemd_credential(tmp_path: Path, end: str) -> None:
    (tmp_path / "redis-password").write_text(SECRET + end)
    found = settings_from({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert password_used(found) == SECRET
    assert not shows_secret(found.described())


def test_an_empty_or_missing_credential_is_no_password(tmp_path: Path) -> None:
    """The units always pass one: only a newline if there is no password file."""
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert password_used(settings_from(given)) is None
    (tmp_path / "redis-password").write_text("\n")
    assert password_used(settings_from(given)) is None
    given[f"{PREFIX}REDIS_PASSWORD"] = SECRET
    assert password_used(settings_from(given)) == SECRET


def test_a_credential_and_another_password_are_refused(tmp_path: Path) -> None:
    (tmp_path / "redis-password").write_text(SECRET)
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path), f"{PREFIX}REDIS_PASSWORD": SECRET}
    with pytest.raises(ConfigurationError) as refused:
        settings_from(given)
    assert (
        str(refused.value)
        == "the password is set by MARKETSTATE_REDIS_PASSWORD and the systemd credential "
        "redis-password; set it once"
    )
