"""The files of the live page: all are served, and none loads or trusts what it should not."""

import re
from pathlib import Path

import pytest

from marketstate.worker.commands.palette import DARK_PAGE
from marketstate.worker.commands.serve.page_files import page_files
from tests.support.documents import ROOT

FOLDER = ROOT / "worker/commands/serve/page"
SCRIPTS = (*FOLDER.glob("*.js"), ROOT / "worker/commands/plots.js")
INDEX = (FOLDER / "index.html").read_text()
# They make elements of texts, or run them.
OBEYING = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser"),
    *("eval(", "new Function", "srcdoc", "setHTML", "createContextualFragment", "import("),
)


def test_the_page_asks_only_for_what_is_served() -> None:
    served = page_files()
    asked = set(re.findall(r'(?:src|href)="(?!#)([^"]+)"', INDEX))
    for path in SCRIPTS:
        asked |= {f"assets/{name}" for name in re.findall(r'from "\./([^"]+)"', path.read_text())}
    assert {name for name in asked if name.removeprefix("assets/") not in served} == set()
    assert {f"assets/{name}" for name in served} - asked == {"assets/index.html"}


def test_the_page_has_nothing_that_its_policy_forbids() -> None:
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", INDEX) == []
    assert re.findall(r"<script[^>]*>(?!</script>)", INDEX) == []
    for path in FOLDER.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?://|url\(|@import", text) == [], path


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_is_for_and_takes_no_text_for_code(path: Path) -> None:
    text = path.read_text()
    assert re.match(r"// \w.*[.,:]\n|// \w.*\n// ", text)
    assert [word for word in OBEYING if word in text] == []
    assert max(map(len, text.splitlines())) <= 105


def test_the_icon_has_colours_of_the_palette() -> None:
    colours = re.findall(r"#[0-9A-Fa-f]{6}", (FOLDER / "icon.svg").read_text())
    assert set(colours) - set(DARK_PAGE.values()) == set()
