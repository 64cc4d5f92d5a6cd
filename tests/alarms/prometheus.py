"""A real Prometheus on loopback with a test copy of the rules, and questions to it."""

import json
import re
import shutil
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Final

from marketstate.worker.local.redis_server import free_port
from tests.support.documents import ROOT
from tests.support.processes import Program

RULES: Final = ROOT / "deploy/prometheus/marketstate.rules.yml"
# What takes minutes in service takes seconds here. The conditions stay as they are.
SHORTER: Final = (
    (r"for: \d+m", "for: 1s"),
    (r"\[10m\]", "[10s]"),
    (r"(oldest_unfinished_seconds\)) > 60", r"\1 > 3"),
    (r"(read_timestamp_seconds) > 300", r"\1 > 5"),
    (r"(last_run_timestamp_seconds) > 3600", r"\1 > 60"),
)


class Prometheus(Program):
    def __init__(self, folder: Path, target: int) -> None:
        """It scrapes the port `target` every second. Raises FileNotFoundError without one."""
        binary = shutil.which("prometheus")
        if binary is None:
            raise FileNotFoundError("found no prometheus: apt-get install prometheus")
        self.port = free_port()
        (folder / "rules.yml").write_text(shorter(RULES.read_text()))
        every = {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"}
        targets = [{"targets": [f"127.0.0.1:{target}"]}]
        configuration = {
            "global": every,
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "node", "static_configs": targets}],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(configuration))
        with (folder / "prometheus.log").open("wb") as log:
            super().__init__(
                [
                    *(binary, f"--config.file={folder}/prometheus.yml"),
                    f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                    # An absent series is absent at once.
                    "--query.lookback-delta=5s",
                ],
                stdout=log,
                stderr=log,
            )

    def firing(self) -> set[str]:
        """The names of the alarms that fire now."""
        found = self._get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] == "firing"}

    def values(self, query: str) -> list[Any]:
        return list(self._get("query", query=query)["result"])

    def history(self, query: str, start_s: float, end_s: float) -> list[Any]:
        asked = {"start": str(start_s), "end": str(end_s), "step": "1"}
        return list(self._get("query_range", query=query, **asked)["result"])

    def is_ready(self) -> bool:
        try:
            return bool(self.values("up == 1"))
        except OSError:
            return False

    def _get(self, what: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.load(reply)["data"]


def shorter(rules: str) -> str:
    for pattern, instead in SHORTER:
        rules, count = re.subn(pattern, instead, rules)
        assert count, pattern
    return rules
