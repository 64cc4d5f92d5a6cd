"""Packages of any Debian suite, by the mirror that apt is configured for. None is installed."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

KEYS: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
# An apt of its own: nothing counts as installed, and the lists of the system stay as they are.
CONFIGURATION: Final = """\
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
"""


class NotHad(Exception):
    """Something that is not to be had here, and why."""


class Suites:
    """The last of `names` may build on the others, as backports do."""

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self._newest = names[-1]
        self._folder = folder
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        lines = [f"deb [signed-by={KEYS}] {_mirror()} {name} main\n" for name in names]
        (folder / "sources.list").write_text("".join(lines))
        (folder / "apt.conf").write_text(CONFIGURATION.format(folder=folder))
        self._apt("update", "--error-on=any")

    def unpack_with_all_it_needs(self, package: str, target: Path) -> None:
        """Down to the C library, so that it runs beside an older system."""
        self._apt("install", "--yes", "--download-only", "--target-release", self._newest, package)
        for archive in (self._folder / "cache/archives").glob("*.deb"):
            call("dpkg-deb", "--extract", archive, target)

    def _apt(self, *arguments: str) -> None:
        configuration = {"APT_CONFIG": str(self._folder / "apt.conf")}
        call("apt-get", "--quiet", "--quiet", *arguments, cwd=self._folder, **configuration)


def call(*command: object, cwd: Path | None = None, **variables: str) -> str:
    """What it prints. Raises NotHad with the last line of what it complains about."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise NotHad(f"there is no {words[0]}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise NotHad(f"{words[0]}: {said[-1]}")
    return done.stdout


def _mirror() -> str:
    """The first that is not one of security updates, which are kept apart."""
    told = call("apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)")
    for line in told.splitlines():
        uri, _, origin_and_label = line.partition(" ")
        if origin_and_label == "Debian Debian":
            return uri
    raise NotHad("apt has no Debian mirror; apt-get update may bring its lists")
