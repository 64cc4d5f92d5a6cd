"""`marketstate explain`: every setting, its value here, and where that is from."""

import os
from pathlib import Path

import pytest

from marketstate.worker import cli
from marketstate.worker.commands.environment_file import environment_file
from marketstate.worker.commands.explain import TEXTS
from marketstate.worker.settings import PREFIX, Settings, explained


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "marketstate.env"
    path.write_text(
        "# MARKETSTATE_BATCH=7\nMARKETSTATE_GROUP='of the file'\nMARKETSTATE_SHARDS=32\n"
        "MARKETSTATE_REDIS_PASSWORD=hidden\nOMP_NUM_THREADS=1\n"
    )
    return path


def explain(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    code = cli.main(["explain", *map(str, arguments)])
    said = capsys.readouterr()
    return code, (said.out + said.err).splitlines()


def test_every_setting_has_a_text() -> None:
    assert set(TEXTS) == set(Settings.__struct_fields__) - {"partition", "longer_interval", "theta"}
    assert [found.name for found in explained({})] == list(TEXTS)


@pytest.mark.parametrize(
    "name", ["publish_interval", "PUBLISH_INTERVAL", "MARKETSTATE_PUBLISH_INTERVAL"]
)
def test_a_setting_is_explained_by_each_form_of_its_name(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETSTATE_PUBLISH_INTERVAL", "300")
    assert explain(capsys, name) == (
        0,
        [
            "MARKETSTATE_PUBLISH_INTERVAL",
            "  Seconds between two states of a symbol.",
            "  allowed   whole seconds, 1 to 604800",
            "  default   60",
            "  here      300",
            "  from      environment",
        ],
    )


def test_a_value_is_from_the_environment_its_file_or_the_default(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETSTATE_SHARDS", "32")
    monkeypatch.setenv("MARKETSTATE_BATCH", "8")
    code, lines = explain(capsys, "--file", file)
    assert (code, len(lines)) == (0, len(TEXTS))
    found = {line.split()[0].removeprefix(PREFIX): line.split(maxsplit=1)[1] for line in lines}
    words = {name: " ".join(found[name].split()) for name in found}
    assert words["SHARDS"] == f"32 environment file {file}"
    assert words["BATCH"] == "8 environment"
    assert words["GROUP"] == f"marketstate default; the services have of the file from {file}"
    assert words["MAX_PENDING"] == "10000 default"
    assert words["REDIS_PASSWORD"] == f"- default; the services have another value from {file}"


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("X=  b c  ", "b c"),
        ("  X\t= b\r\n", "b"),
        ("X='b'\"c\" d'e'\n", "bcd'e'"),
        ("X=b'c'", "b'c'"),
        ('X="a\\"b\\\\c\\nd"', 'a"b\\c\\nd'),
        ("X='a\\b'", "a\\b"),
        ("X=a\\b\\ ", "ab "),
        ("X=a\\\nb", "ab"),
        ("X=a\nX=b # c", "b # c"),
        ("X='a\nMARKETSTATE_BATCH=5'\n", "a\nMARKETSTATE_BATCH=5"),
        ("; X=a\nexport X=a\nX\nX=#b", "#b"),
        ("=\n=X=a\nX=b", "b"),
    ],
)
def test_a_file_is_read_as_systemd_reads_it(text: str, group: str, tmp_path: Path) -> None:
    """What systemd 252 makes of each."""
    path = tmp_path / "marketstate.env"
    path.write_bytes(text.replace("X", "MARKETSTATE_GROUP").encode())
    assert environment_file(path) == ({"MARKETSTATE_GROUP": group}, "")


def test_secrets_are_masked_and_a_password_in_a_url_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETSTATE_REDIS_URL", "redis://me:secret@there:6379/0")
    assert "  here      redis://me:***@there:6379/0" in explain(capsys, "redis_url")[1]
    monkeypatch.delenv("MARKETSTATE_REDIS_URL")
    monkeypatch.setenv("MARKETSTATE_REDIS_PASSWORD", "secret")
    assert "  here      ***" in explain(capsys, "redis_password")[1]


def test_a_name_that_is_not_a_setting_gets_the_nearest_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert explain(capsys, "publish_intervall") == (
        2,
        [
            "marketstate: MARKETSTATE_PUBLISH_INTERVALL is not a setting; did you mean "
            "MARKETSTATE_PUBLISH_INTERVAL?"
        ],
    )


def test_a_value_with_which_a_worker_would_not_start_is_shown_and_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETSTATE_BATCH", "many")
    code, lines = explain(capsys, "batch")
    assert (code, "  here      many" in lines) == (2, True)
    assert lines[-1] == (
        "marketstate: a worker would not start here: MARKETSTATE_BATCH is 'many'; allowed: a "
        "number of entries, 1 to 2000"
    )


def test_what_is_not_a_fixed_text_is_said_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "  here      host and process id" in explain(capsys, "worker_id")[1]
    monkeypatch.setenv("MARKETSTATE_REPLAY_NAMESPACE", "x")
    said = "the keys are those of the replay x, whatever settings say about keys"
    assert explain(capsys, "group")[1][-1] == said


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = explain(capsys, "batch", "--file", tmp_path)
    assert (code, lines[-1]) == (
        0,
        f"{tmp_path} cannot be read (Is a directory), so it may say something else",
    )
