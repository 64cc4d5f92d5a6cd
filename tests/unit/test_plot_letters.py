"""Symbols of any script in a picture."""

from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.font_manager import fontManager

from marketstate.worker.commands.plot import letters
from marketstate.worker.commands.plot.letters import fonts_for, shortened, with_letters_of

FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
# A letter that, among the fonts of matplotlib itself, only those of STIX have.
ONLY_STIX = "\u20dd"


@pytest.fixture
def few_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only fonts that come with matplotlib, and of them not those of STIX."""
    own = [one for one in fontManager.ttflist if str(one.fname).startswith(str(FONTS))]
    few = [one for one in own if "STIX" not in one.name]
    monkeypatch.setattr(fontManager, "ttflist", few)
    monkeypatch.setattr(letters, "findSystemFonts", list)


def test_letters_of_the_default_font_need_no_other() -> None:
    assert fonts_for(["BTCUSDT", "ΣДя"]) == mpl.rcParams["font.family"]
    assert with_letters_of(fonts_for([]), "ΣДя") == "ΣДя"


def test_a_font_that_has_a_letter_is_found() -> None:
    found = fonts_for(["BTC", f"X{ONLY_STIX}"])
    assert found[:1] == mpl.rcParams["font.family"]
    assert len(found) == 2
    assert with_letters_of(found, f"X{ONLY_STIX}") == f"X{ONLY_STIX}"


@pytest.mark.usefixtures("few_fonts")
def test_a_letter_that_no_font_has_is_its_number() -> None:
    found = fonts_for(["币安USDT"])
    assert found == mpl.rcParams["font.family"]
    assert with_letters_of(found, "币安USDT") == "[U+5E01][U+5B89]USDT"


@pytest.mark.usefixtures("few_fonts")
def test_a_font_that_was_just_installed_is_found_and_a_bad_one_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bad = tmp_path / "a.ttf"
    bad.write_bytes(b"no font")
    installed = [str(bad), str(tmp_path / "gone.ttf"), str(FONTS / "STIXGeneral.ttf")]
    monkeypatch.setattr(letters, "findSystemFonts", lambda: installed)
    assert fonts_for([ONLY_STIX])[1:] == ["STIXGeneral"]


def test_a_long_name_keeps_its_two_ends() -> None:
    assert shortened("BTCUSDT", 7) == "BTCUSDT"
    assert shortened("0123456789", 7) == "012…789"
    assert len(shortened("0123456789", 6)) == 6
