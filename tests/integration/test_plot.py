"""`marketstate plot`: from the output stream and from files, in each output format."""

import gzip
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import msgspec
import pytest
import redis
from matplotlib.image import imread

from marketstate.schemas.candle import encode_envelope
from marketstate.schemas.market_state import encode_record, stream_fields
from marketstate.schemas.recording import RecordedEntry, encode_entry, encode_header
from marketstate.worker.cli import main
from marketstate.worker.local.redis_server import EmbeddedRedis
from tests.support.candles import made_candles
from tests.support.records import make_record, publish

EVIL = "<script>alert('x')</script>$\\frac$&币"
REGIMES = ("trend", "mr", "chop")


@pytest.fixture
def published(any_server_binary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    with EmbeddedRedis(any_server_binary) as server, server.client() as client:
        monkeypatch.setenv("MARKETSTATE_REDIS_PORT", str(server.port))
        for symbol in ("BTCUSDT", EVIL, "ETHUSDT"):
            publish(client, (make_record(symbol, i, REGIMES[i // 7 % 3]) for i in range(40)))
        client.xadd("quantum:stream:marketstate", {"other": "entry"})
        yield client


def write_csv(
    folder: Path, symbol: str, count: int, scale: float = 1.0, lost: Container[int] = ()
) -> Path:
    path = folder / f"{symbol}-1m.csv"
    rows = "".join(
        f"{scale * one.close!r},{one.close_time}\n"
        for i, one in enumerate(made_candles((symbol,), count))
        if i not in lost
    )
    path.write_text(f"close,close_time\n{rows}")
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["plot", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    (error,) = (line for line in lines if line.startswith("marketstate: "))
    return error


@pytest.mark.usefixtures("published")
def test_a_png_has_its_symbols_in_a_grid(tmp_path: Path) -> None:
    sizes = []
    for symbols in (["BTCUSDT", "ETHUSDT"], ["BTCUSDT", "ETHUSDT", EVIL]):
        out = tmp_path / f"{len(symbols)}.png"
        assert main(["plot", *symbols, "--out", str(out)]) == 0
        content = out.read_bytes()
        assert content.startswith(b"\x89PNG")
        sizes.append((int.from_bytes(content[16:20]), int.from_bytes(content[20:24])))
    (width_of_two, height_of_two), (width_of_three, height_of_three) = sizes
    assert width_of_two == width_of_three, "two beside each other"
    assert 2 * height_of_two == height_of_three, "and the third below"


@pytest.mark.usefixtures("published")
def test_an_svg_has_units_utc_and_hatching_beside_colour(tmp_path: Path) -> None:
    out = tmp_path / "btc.svg"
    assert main(["plot", "BTCUSDT", "--last", "30", "--out", str(out)]) == 0
    root = ET.fromstring(out.read_bytes())
    texts = {text for element in root.iter() if (text := (element.text or "").strip())}
    assert {
        *("price", "[USDT]", "sigma", "mu", "[% per candle]", "ts", "[|mu| / sigma]"),
        *("probability", "[%]", "close time [UTC]", "trend", "mr (vr far from 1)", "chop"),
    } <= texts
    assert {"BTCUSDT", "30 states of 1m candles, 2025-05-04 15:50 to 2025-05-04 16:19 UTC"} <= texts
    patterns = root.findall(".//{http://www.w3.org/2000/svg}pattern")
    assert len(patterns) >= 2, "trend and mr are hatched, chop is plain"
    for pattern in patterns:
        face, lines = pattern[0].attrib["fill"], pattern[1].attrib["style"]
        assert face not in lines, "hatching has a different colour"
    before = out.read_bytes()
    assert main(["plot", "BTCUSDT", "--last", "30", "--out", str(out)]) == 0
    assert out.read_bytes() == before


def test_a_page_loads_nothing_and_shows_names_without_obeying_them(
    published: redis.Redis, tmp_path: Path
) -> None:
    evil = msgspec.structs.replace(make_record(EVIL, 40), regime="</script><img>")
    publish(published, [evil])
    out = tmp_path / "page.html"
    assert main(["plot", EVIL, "BTCUSDT", "--out", str(out)]) == 0
    page = out.read_text()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert" in page
    assert "default-src 'none'" in page
    assert re.findall(r"""(?:src|href)=["'](?!#)""", page) == []
    assert re.findall(r"@import|url\((?!#)", page) == []
    data = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert len(data) == 2
    for count, found in zip((41, 40), map(json.loads, data), strict=True):
        lengths = [len(found[name]) for name in ("times", "regime")]
        assert [*lengths, len(found["numbers"]["ts"])] == [count] * 3
    assert page.count("<canvas") == 2
    assert page.count('<a href="#s') == 2


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_states_of_synthetic_prices_are_the_first_that_is_said(
    suffix: str, published: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invented = msgspec.structs.replace(make_record("ETHUSDT", 40), source="synthetic")
    publish(published, [invented])
    out = tmp_path / f"page.{suffix}"
    assert main(["plot", "BTCUSDT", "ETHUSDT", "--out", str(out)]) == 0
    said = "SYNTHETIC PRICES: 1 of 41 states of ETHUSDT are invented"
    assert capsys.readouterr().out.splitlines()[0] == said
    text = out.read_text()
    if suffix == "html":
        assert "<h2><mark>SYNTHETIC PRICES</mark> ETHUSDT</h2>" in text
        assert "<h2>BTCUSDT</h2>" in text
    else:
        assert text.count("SYNTHETIC PRICES: ETHUSDT<") == 1
        assert "SYNTHETIC PRICES: BTCUSDT" not in text
    assert text.count("1 of 41 states are of synthetic prices") == 1


def texts_in(svg: Path) -> list[str]:
    return [(element.text or "").strip() for element in ET.fromstring(svg.read_bytes()).iter()]


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_changes_of_the_regime_and_gaps_are_marked(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path, "AAAUSDT", 340, lost=range(300, 310))
    marks = {"svg": "the regime changes", "html": "▼ the regime changes"}[suffix]
    gap = "gap: candles are missing"
    out = tmp_path / f"out.{suffix}"
    assert main(["plot", "--from", str(path), "--out", str(out)]) == 0
    assert "; 1 gap of 10 candles; chop throughout" in capsys.readouterr().out
    assert gap in out.read_text()
    assert f">{marks}<" not in out.read_text()
    assert main(["plot", "BTCUSDT", "--out", str(out)]) == 0
    assert "BTCUSDT: 40 states; the regime changes 5 times\n" in capsys.readouterr().out
    assert f">{marks}<" in out.read_text()
    assert gap not in out.read_text()


@pytest.mark.usefixtures("published")
def test_sigma_is_shown_per_candle_hour_or_day(tmp_path: Path) -> None:
    sigma = make_record("BTCUSDT", 0).sigma
    for period, candles in (("candle", 1), ("hour", 60), ("day", 1_440)):
        out = tmp_path / "out.html"
        options = ("--sigma-per", period) if period != "candle" else ()
        assert main(["plot", "BTCUSDT", *options, "--out", str(out)]) == 0
        (data,) = re.findall(r'<script type="application/json">(.*?)</script>', out.read_text())
        found = json.loads(data)
        assert found["sigma_per"] == period
        assert found["numbers"]["sigma"] == pytest.approx([sigma * candles**0.5] * 40, rel=1e-5)
        svg = tmp_path / "out.svg"
        assert main(["plot", "BTCUSDT", *options, "--out", str(svg)]) == 0
        texts = texts_in(svg)
        assert texts[texts.index("sigma") + 1] == f"[% per {period}]"
        assert texts[texts.index("mu") + 1] == "[% per candle]"


@pytest.mark.usefixtures("published")
def test_small_multiples_have_price_and_sigma_of_each_symbol_and_one_legend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.svg"
    assert main(["plot", "BTCUSDT", "ETHUSDT", EVIL, "--small", "--out", str(out)]) == 0
    texts = texts_in(out)
    for text, count in {"price": 3, "sigma": 3, "mu": 0, "probability": 0, "chop": 1}.items():
        assert texts.count(text) == count, text
    assert {"BTCUSDT", "ETHUSDT", "the regime changes"} <= {*texts}
    assert any(text.startswith(EVIL[:8]) for text in texts)
    page = str(tmp_path / "a.html")
    assert "--small draws a PNG or an SVG" in refused(capsys, "BTCUSDT", "--small", "--out", page)


def test_small_multiples_are_more_and_smaller(
    published: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    symbols = [f"SYM{i}" for i in range(101)]
    publish(published, (make_record(symbol, i) for symbol in symbols for i in range(2)))
    out = tmp_path / "a.png"
    assert refused(capsys, *symbols[:21], "--out", str(out)).endswith(
        "21 symbols are too many for one file; name up to 20, or with --small up to 100"
    )
    assert refused(capsys, *symbols, "--small", "--out", str(out)).endswith("name up to 100")
    sizes = []
    for options in (["--small"], []):
        assert main(["plot", *symbols[:4], *options, "--out", str(out)]) == 0
        content = out.read_bytes()
        sizes.append(int.from_bytes(content[16:20]) * int.from_bytes(content[20:24]))
    assert 5 * sizes[0] < sizes[1]


def test_candle_files_are_calculated_and_plotted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(write_csv(tmp_path, symbol, 280)) for symbol in ("AAAUSDT", "BBBUSDT")]
    out = tmp_path / "all.svg"
    assert main(["plot", "--from", *paths, "--out", str(out)]) == 0
    never_changed = "24 states; chop throughout: see marketstate calibrate\n"
    printed = capsys.readouterr().out
    assert f"AAAUSDT: {never_changed}BBBUSDT: {never_changed}" in printed
    assert "trend, mr and chop describe the last 256 returns; they are no forecast" in printed
    assert out.read_text().count("24 states of 1m candles") == 2
    assert main(["plot", "BBBUSDT", "--from", *paths, "--last", "1", "--out", str(out)]) == 0
    assert "AAAUSDT" not in out.read_text()


@pytest.mark.parametrize(
    ("scale", "unit", "longest"),
    [
        (3e-12, "[10⁻¹⁰ USDT]", 6),
        (3e-5, "[USDT]", 9),
        (3.0, "[USDT]", 6),
        (3e7, "[10⁹ USDT]", 6),
    ],
)
def test_prices_of_any_size_have_short_ticks(
    scale: float, unit: str, longest: int, tmp_path: Path
) -> None:
    path = write_csv(tmp_path, "AAAUSDT", 300, scale)
    out = tmp_path / "out.svg"
    assert main(["plot", "--from", str(path), "--out", str(out)]) == 0
    texts = [(element.text or "").strip() for element in ET.fromstring(out.read_bytes()).iter()]
    assert unit in texts
    ticks = [text for text in texts if re.fullmatch(r"[0-9.]+", text)]
    assert max(map(len, ticks)) <= longest, ticks


def test_long_names_in_any_script_are_neither_cut_nor_warned_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path, "币𓀀W" * 21, 280)
    out = tmp_path / "out.png"
    assert main(["plot", "--from", str(path), "--out", str(out)]) == 0
    assert capfd.readouterr().err == ""
    pixels = imread(out)[:, :, :3]
    assert (pixels[:60, :10] == 1).all(), "the title does not reach the left edge"
    assert (pixels[:60, -10:] == 1).all()
    assert main(["plot", "--from", str(path), "--out", str(out.with_suffix(".svg"))]) == 0
    assert "币𓀀W币" in out.with_suffix(".svg").read_text(), "its reader may have the letters"


def test_missing_candles_are_told_and_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path, "AAAUSDT", 300, lost=range(20, 60))
    out = tmp_path / "out.html"
    assert main(["plot", "--from", str(path), "--out", str(out)]) == 0
    told = "candles are missing in the windows of all states (up to 40)"
    assert f"AAAUSDT: 4 states; {told}; chop throughout" in capsys.readouterr().out
    page = out.read_text()
    assert told in page
    assert "strip: candles missing in the window" in page
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert json.loads(data)["numbers"]["missing"] == [40] * 4


def test_the_pointer_finds_states_on_an_axis_without_closed_hours(tmp_path: Path) -> None:
    rows = "".join(
        f"{100 + i % 7},{(20_000 + i // 10) * 86_400_000 + (i % 10 + 1) * 3_600_000 - 1}\n"
        for i in range(300)
    )
    path = tmp_path / "AAAUSDT-1h.csv"
    path.write_text(f"close,close_time\n{rows}")
    out = tmp_path / "out.html"
    assert main(["plot", "--from", str(path), "--out", str(out)]) == 0
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', out.read_text())
    places = json.loads(data)["places"]
    assert [place - places[0] for place in places] == [i * 3_600_000 for i in range(44)]


def test_a_page_and_the_help_need_no_matplotlib(tmp_path: Path) -> None:
    path, out = write_csv(tmp_path, "AAAUSDT", 260), tmp_path / "out.html"
    for arguments in (["--from", str(path), "--out", str(out)], ["--help"]):
        code = (
            "import sys; sys.modules['matplotlib'] = None; "
            f"from marketstate.worker.cli import main; sys.exit(main(['plot', *{arguments!r}]))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert "<canvas" in out.read_text()


def test_a_page_of_eight_symbols_stays_below_2_megabytes(tmp_path: Path) -> None:
    for i in range(8):
        write_csv(tmp_path, f"SYM{i}USDT", 257 + 1_440)
    out = tmp_path / "out.html"
    assert main(["plot", "--from", str(tmp_path), "--out", str(out)]) == 0
    assert out.stat().st_size < 2_000_000


def write_recording(path: Path, entries: Iterable[Mapping[str, str | bytes]]) -> Path:
    content = encode_header("a stream")
    for number, fields in enumerate(entries, start=1):
        flat = [text.encode() if isinstance(text, str) else text for text in chain(*fields.items())]
        content += encode_entry(RecordedEntry(f"{number}-0", flat))
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_a_recording_of_states_is_plotted_without_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [make_record("BTCUSDT", i) for i in range(20)]
    states = [
        msgspec.structs.asdict(stream_fields(record, encode_record(record))) for record in records
    ]
    path = write_recording(tmp_path / "states.jsonl.gz", [*states, {"other": "entry"}])
    out = tmp_path / "out.svg"
    assert main(["plot", "--from", str(path), "--out", str(out)]) == 0
    output, errors = capsys.readouterr()
    assert "BTCUSDT: 20 states" in output
    assert errors.splitlines() == [
        "lines or entries left out: 1",
        f"  {path}, entry 21-0: not a record of this version",
    ]
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(gzip.decompress(path.read_bytes())[:-20])
    assert main(["plot", "--from", str(torn), "--out", str(out)]) == 0
    assert f"{torn}, line 22: the line is cut off" in capsys.readouterr().err


def test_a_recording_of_candles_gives_what_their_file_gives(tmp_path: Path) -> None:
    candles = made_candles(("AAAUSDT",), 280)
    other = msgspec.structs.replace(candles[-1], interval="5m", close=1.0)
    entries = [encode_envelope(one, source="test") for one in (*candles, other)]
    path = write_recording(tmp_path / "candles.jsonl", [{"no": "candle"}, *entries])
    drawn = []
    for source in (path, write_csv(tmp_path, "AAAUSDT", 280)):
        out = tmp_path / f"{source.suffix[1:]}.svg"
        assert main(["plot", "--from", str(source), "--out", str(out)]) == 0
        drawn.append(out.read_bytes())
    assert drawn[0] == drawn[1]


def test_what_cannot_be_plotted_is_one_clear_line(
    published: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "a.png")
    assert "must end in one of .png, .svg, .html" in refused(capsys, "BTCUSDT", "--out", "a.gif")
    assert "no state of NOUSDT" in refused(capsys, "NOUSDT", "BTCUSDT", "--out", out)
    assert "no symbols given" in refused(capsys, "--out", out)
    missing = str(tmp_path / "no/where.png")
    assert f"cannot write {missing}" in refused(capsys, "BTCUSDT", "--out", missing)
    short = str(write_csv(tmp_path, "SHORTUSDT", 256))
    assert "257 closes" in refused(capsys, "--from", short, "--out", out)
    (tmp_path / "notes.txt").write_text("something else")
    notes = str(tmp_path / "notes.txt")
    assert f"{notes}, line 1: not a recording" in refused(capsys, "--from", notes, "--out", out)
    for i in range(21):
        publish(published, [make_record(f"SYM{i}", 0)])
    many = [f"SYM{i}" for i in range(21)]
    assert "21 symbols are too many" in refused(capsys, *many, "--out", out)
    for last in ("0", "1.5", "inf"):
        with pytest.raises(SystemExit):
            main(["plot", "BTCUSDT", "--out", out, "--last", last])
    assert not Path(out).exists()
    published.shutdown(nosave=True)
    assert main(["plot", "BTCUSDT", "--out", out]) == 3
