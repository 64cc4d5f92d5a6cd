"""deploy/prometheus and deploy/grafana: what can be checked without a running Prometheus.

`scripts/test-alarms` runs all of it on one.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from marketstate.worker.commands.metrics.families import text
from tests.support.dashboard import queries
from tests.support.documents import ROOT
from tests.support.exposition import samples
from tests.support.readings import FIVE_MINUTES, found, reading, record, status

FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "marketstate.rules.yml").read_text()
WRITTEN_BY_VERIFY = {
    "marketstate_verify_success",
    "marketstate_verify_last_run_timestamp_seconds",
}


def promtool(*words: str, folder: Path = FOLDER) -> str:
    """What it says, if it fails."""
    if shutil.which("promtool") is None:
        pytest.skip("not installed: promtool")
    done = subprocess.run(
        ["promtool", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_each_alarm_fires_and_clears() -> None:
    assert promtool("test", "rules", "marketstate.rules.test.yml") == ""


def test_each_alarm_has_a_test_and_says_what_to_do() -> None:
    alarms = re.findall(r"alert: (\w+)", RULES)
    tested = (FOLDER / "marketstate.rules.test.yml").read_text()
    assert [name for name in alarms if name not in tested] == []
    assert RULES.count("summary: ") == len(alarms) == len(set(alarms))


def test_the_scrape_configuration_is_valid() -> None:
    assert promtool("check", "config", "scrape.yml") == ""


def test_each_query_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    """As a recording rule, since promtool parses nothing else without a server."""
    rules = [
        {"record": f"query:{number}", "expr": query}
        for number, query in enumerate(queries(symbol="BTCUSDT"))
    ]
    assert len(rules) > 15
    document = {"groups": [{"name": "queries", "rules": rules}]}
    # JSON is YAML.
    (tmp_path / "rules.yml").write_text(json.dumps(document))
    assert promtool("check", "rules", "rules.yml", folder=tmp_path) == ""


def test_alarms_and_dashboard_use_only_metrics_that_there_are() -> None:
    of_symbols = found(status(intervals=[FIVE_MINUTES]), (record("BTCUSDT"),))
    unknown_lag = found(status(lag_at_least=True))
    written = samples(text(reading(of_symbols))) | samples(text(reading(unknown_lag)))
    used = set(re.findall(r"\bmarketstate_\w+", " ".join([*_expressions(), *queries("A")])))
    assert used - written.keys() - WRITTEN_BY_VERIFY == set()


def _expressions() -> Sequence[str]:
    return re.findall(r"expr: (.*)", RULES)
