"""The metrics of a reading: names, labels, and what is absent."""

import math
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from marketstate.worker.cli import main
from marketstate.worker.commands.metrics.families import text
from marketstate.worker.commands.metrics.reading import Found
from marketstate.worker.commands.verify.outcome import outcome
from marketstate.worker.engine.changes import ENDS
from marketstate.worker.engine.freshness import SymbolStatus
from marketstate.worker.engine.preflight import Finding
from marketstate.worker.settings import Settings, settings_from
from tests.support.exposition import Samples, samples
from tests.support.readings import (
    FIVE_MINUTES,
    FOUR_HOURS,
    NOW_S,
    ODD,
    found,
    reading,
    record,
    status,
)


def shown(*answers: Found | None, settings: Settings | None = None) -> Samples:
    return samples(text(reading(*answers, settings=settings)))


def test_each_number_of_a_status_is_a_metric() -> None:
    got = shown(found())
    assert got["marketstate_up"] == {(): 1}
    assert got["marketstate_group_lag"] == {(): 7}
    assert got["marketstate_group_pending"] == {(): 3}
    assert got["marketstate_oldest_unfinished_seconds"] == {(): 1.5}
    assert got["marketstate_dead_letters"] == {(): 5}
    assert got["marketstate_gaps_total"] == {(): 2}
    assert got["marketstate_states_emitted_total"] == {(): 40}
    assert got["marketstate_workers"] == {(): 1}
    assert got["marketstate_worker_last_seen_timestamp_seconds"] == {
        ("idle",): NOW_S - 3,
        ("w1",): NOW_S - 2,
    }
    assert got["marketstate_shard_held"] == {("00",): 1, ("01",): 0}
    assert got["marketstate_shard_pending"] == {("00",): 3, ("01",): 0}
    assert got["marketstate_symbols"] == {("fresh",): 1, ("stale",): 1, ("filling",): 1}
    assert got["marketstate_symbols_set_aside"] == {(): 1}
    assert got["marketstate_last_state_timestamp_seconds"] == {(): 1_764_122_699.999}


def test_every_way_in_which_an_entry_ends_is_a_result() -> None:
    """G5: also those of which there is none, so that a first one is an increase."""
    got = shown(found())["marketstate_entries_total"]
    assert got == {(end,): 500 if end == "applied" else 0 for end in ENDS}


def test_a_lag_that_redis_does_not_know_is_absent_and_its_lower_bound_is_there() -> None:
    """G8: neither 0 nor a number that is too small."""
    got = shown(found(status(lag=10_000, lag_at_least=True)))
    assert "marketstate_group_lag" not in got
    assert got["marketstate_group_lag_at_least"] == {(): 10_000}
    assert "marketstate_group_lag_at_least" not in shown(found())


def test_what_cannot_be_read_is_down_and_has_no_other_numbers() -> None:
    got = shown(None)
    assert got.pop("marketstate_up") == {(): 0}
    assert set(got) == {
        "marketstate_build_info",
        "marketstate_settings_info",
        "marketstate_read_timestamp_seconds",
    }


def test_a_partition_that_cannot_be_read_takes_nothing_from_the_others() -> None:
    """A sum would fall and rise again, which a counter of dead letters must not."""
    both, one = shown(found(), found()), shown(found(), None)
    assert one["marketstate_up"] == {("{p00}",): 1, ("{p01}",): 0}
    dead = "marketstate_entries_total"
    assert both[dead].keys() == {(f"{{p0{i}}}", end) for i in (0, 1) for end in ENDS}
    assert one[dead] == {key: n for key, n in both[dead].items() if key[0] == "{p00}"}
    # A worker works for all partitions.
    assert both["marketstate_workers"] == {(): 1}


def test_in_a_replay_no_state_is_stale() -> None:
    settings = settings_from({"MARKETSTATE_REPLAY_NAMESPACE": "yesterday"})
    got = shown(found(), settings=settings)["marketstate_symbols"]
    assert got == {("fresh",): 2, ("stale",): 0, ("filling",): 1}


def test_symbols_are_escaped_and_come_back_whole() -> None:
    got = shown(found(records=(record("BTCUSDT"), record(ODD))))
    assert got["marketstate_sigma"] == {("BTCUSDT",): 0.25, (ODD,): 0.25}
    assert got["marketstate_regime_probability"] == {
        (regime, symbol): probability
        for symbol in ("BTCUSDT", ODD)
        for regime, probability in {"trend": 0.25, "mr": 0.5, "chop": 0.25}.items()
    }
    assert not [name for name in shown(found()) if "symbol" in name and "symbols" not in name]


def test_no_number_is_lost_on_the_way() -> None:
    """Times to the millisecond, and counters as large as Redis has them."""
    many = shown(found(status(counters={"applied": 2**53})))["marketstate_entries_total"]
    assert many["applied",] == 2**53


def with_intervals() -> Found:
    several = found(status(intervals=[FIVE_MINUTES, FOUR_HOURS]), (record("BTCUSDT"),))
    return several._replace(longer={"5m": [("BTCUSDT", replace(record("BTCUSDT"), sigma=0.75))]})


def test_longer_intervals_have_names_of_their_own_so_that_no_sum_changes() -> None:
    """Alarms and the dashboard sum over symbols."""
    got, without = shown(with_intervals()), shown(found(records=(record("BTCUSDT"),)))
    longer = {name: got.pop(name) for name in [*got] if "_interval_" in name}
    assert got == without
    assert longer.pop("marketstate_interval_symbols") == {
        (interval, condition): count
        for interval, counts in {"5m": (1, 2, 4), "4h": (0, 0, 7)}.items()
        for condition, count in zip(("fresh", "stale", "filling"), counts, strict=True)
    }
    assert longer == {
        "marketstate_interval_states_emitted_total": {("5m",): 90, ("4h",): 0},
        "marketstate_interval_gaps_total": {("5m",): 3, ("4h",): 0},
        "marketstate_interval_windows_restarted_total": {("5m",): 1, ("4h",): 0},
        "marketstate_interval_last_state_timestamp_seconds": {("5m",): 1_764_122_699.999},
        "marketstate_interval_last_close_timestamp_seconds": {("5m", "BTCUSDT"): 1_764_122_699.999},
        "marketstate_interval_sigma": {("5m", "BTCUSDT"): 0.75},
        "marketstate_interval_mu": {("5m", "BTCUSDT"): -0.5},
        "marketstate_interval_ts": {("5m", "BTCUSDT"): 0.125},
        "marketstate_interval_regime_probability": {
            ("5m", regime, "BTCUSDT"): probability
            for regime, probability in {"trend": 0.25, "mr": 0.5, "chop": 0.25}.items()
        },
    }


def test_promtool_finds_nothing_to_say() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("not installed: promtool")
    every = found(status(lag_at_least=True), (record(ODD),))
    written = text(reading(every)) + text(reading(found()))
    partitions = text(reading(found(), with_intervals()))
    for part in (text(reading(every)), partitions, verified()):
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=part, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    names = Counter(family.name for family in text_string_to_metric_families(written.decode()))
    assert names["marketstate_group_lag"] == names["marketstate_group_lag_at_least"] == 1


def verified() -> bytes:
    from prometheus_client import generate_latest  # noqa: PLC0415

    findings = [
        Finding("ok", "backlog", "lag 0"),
        Finding("warn", "dead", "3"),
        Finding("skip", "output stream", "nothing yet"),
        Finding("ok", "fresh", "1 of 1"),
        Finding("FAIL", "fresh", "a symbol of that name", "keys"),
        Finding("FAIL", "{p03} workers", "none", "workers"),
    ]
    return generate_latest(outcome(findings, NOW_S))


def test_each_check_of_verify_succeeds_or_fails_whatever_symbols_are_called() -> None:
    got = samples(verified())
    assert got["marketstate_verify_success"] == {
        ("backlog",): 1,
        ("dead",): 1,
        ("fresh",): 1,
        ("keys",): 0,
        ("verify",): 1,
        ("workers",): 0,
    }
    assert got["marketstate_verify_last_run_timestamp_seconds"] == {(): NOW_S}


@pytest.mark.parametrize(
    ("command", "lacking", "from_where"),
    [
        (["metrics"], "prometheus_client", ("metrics", "--with-metrics")),
        (["verify", "--textfile", "out.prom"], "prometheus_client", ("metrics", "--with-metrics")),
        (["serve"], "uvicorn", ("web", "--with-page")),
        (["serve"], "starlette", ("web", "--with-page")),
    ],
)
def test_without_a_package_one_line_says_where_it_is(
    command: list[str],
    lacking: str,
    from_where: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    extra, option = from_where
    with_extras = ("metrics", "verify.outcome", "serve")
    loaded = tuple(f"marketstate.worker.commands.{each}" for each in with_extras)
    for name in [*sys.modules]:
        if name.startswith((*loaded, f"{lacking}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, lacking, None)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"needs {lacking}, which is not installed: it is in the extra `{extra}`" in said
    assert f"scripts/deploy.sh {option}" in said


@pytest.mark.parametrize("command", ["metrics", "verify"])
def test_a_file_that_the_collector_would_pass_over_is_refused(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--textfile", str(tmp_path / "out.txt")])
    assert ended.value.code == 2
    assert "must end in .prom" in capsys.readouterr().err


def test_stale_is_what_is_stale_for_verify() -> None:
    bound = status(
        symbols=[SymbolStatus("A", 1, 120.0), SymbolStatus("B", 1, math.nextafter(120, 121))]
    )
    assert shown(found(bound))["marketstate_symbols"]["stale",] == 1
