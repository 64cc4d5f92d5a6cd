"""The fault harness: a clean verdict under all kinds of faults, and a bad one if deserved."""

import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fault.chaos import history as histories
from tests.fault.chaos.breakages import BREAKAGES, ROOT
from tests.fault.chaos.checker import violations, violations_of_all
from tests.fault.chaos.emissions import Published, expected_record
from tests.fault.chaos.entries import entries, symbols_of
from tests.fault.chaos.expected import Close, Due, Symbol
from tests.fault.chaos.history import History, as_text, digest
from tests.fault.chaos.names import Names
from tests.fault.chaos.plan import Plan
from tests.fault.chaos.reference import judged_by
from tests.fault.chaos.run import run
from tests.support.redis_versions import older_server

T0: Final = 1_746_373_259_999
SYMBOLS: Final = symbols_of(Names())
# A window that was written twice sets its symbol aside, and then there is nothing to emit twice.
TWICE: Final = r"was emitted 2 times|the entry already has one"
SEEN_AS: Final = {
    "fencing": TWICE,
    "routing": "is lost",
    "commit": "is lost",
    "mirror": "the window in Redis is not the last 20 closes",
    "quarantine": "entries are for this group",
    "half commit": TWICE + "|the counter applied is",
    "floor": "no candle of it was applied",
    "two feeds": "the counter duplicate is",
    "retirement": "was emitted, but was not due",
}


def test_all_kinds_of_faults_together_leave_a_clean_history(
    any_server_binary: Path, tmp_path: Path
) -> None:
    """G1 to G5, judged by a checker that shares no code with the worker."""
    plan = Plan(seed=1, candles=4_500, faults=30, workers=3, older=older_server(any_server_binary))
    report = run(plan, any_server_binary, tmp_path)
    assert set(report.faults) == plan.possible_kinds
    assert report.bit.total() > report.faults.total() / 2
    assert violations_of_all(report.histories) == []


@pytest.mark.parametrize("name", [name for name in BREAKAGES if not BREAKAGES[name].on_cluster])
def test_workers_that_are_broken_on_purpose_are_detected(
    name: str, any_server_binary: Path, tmp_path: Path
) -> None:
    breakage = BREAKAGES[name]
    plan = Plan(
        seed=5,
        candles=2_000,
        faults=breakage.times,
        workers=2,
        kinds=breakage.faults,
        breakage=name,
        with_reference=False,
    )
    found = violations_of_all(run(plan, any_server_binary, tmp_path).histories)
    assert [text for text in found if re.search(SEEN_AS[name], text)] != [], found[:20]


def test_a_correct_history_is_clean() -> None:
    assert violations(true_history()) == []


def emission_removed(history: History) -> None:
    del history.outputs[5]


def emission_doubled(history: History) -> None:
    history.outputs.append(history.outputs[5])


def emissions_swapped(history: History) -> None:
    (first, a), (second, b) = history.outputs[4:6]
    history.outputs[4:6] = [(first, b), (second, a)]


def digit_of_a_text_field_changed(history: History) -> None:
    fields = history.outputs[5][1]
    fields["sigma"] = _other_digit(fields["sigma"])


def digit_of_a_record_changed(history: History) -> None:
    """In the last digit, so that only the bytes show it."""
    fields = history.outputs[5][1]
    record = json.loads(fields["record"])
    text = repr(record["sigma"])
    fields["record"] = fields["record"].replace(text, _other_digit(text))


def digit_of_a_state_changed(history: History) -> None:
    state = history.states["AUSDT"]
    state["p_chop"] = _other_digit(state["p_chop"])


def fields_of_a_state_reordered(history: History) -> None:
    history.states["AUSDT"] = dict(reversed(history.states["AUSDT"].items()))


def state_with_a_field_more(history: History) -> None:
    history.states["AUSDT"]["record"] = history.records["AUSDT"]


def record_of_an_earlier_state(history: History) -> None:
    history.records["AUSDT"] = history.outputs[-2][1]["record"]


def record_removed(history: History) -> None:
    del history.records["AUSDT"]


def entry_left_pending(history: History) -> None:
    history.group["pending"] = 1


def entry_left_unread(history: History) -> None:
    history.group["last-delivered-id"] = "1-0"


def counter_off_by_one(history: History) -> None:
    history.counters["late"] = "3"


def window_without_a_close(history: History) -> None:
    del history.windows["AUSDT"][3]


def dead_letter_missing(history: History) -> None:
    del history.dead[0]


def dead_letter_doubled(history: History) -> None:
    history.dead.append(history.dead[0])


def dead_letter_of_a_good_entry(history: History) -> None:
    history.dead[0][1]["source_id"] = history.inputs[0][0]


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (emission_removed, "is lost"),
        (emission_doubled, "was emitted 2 times"),
        (emissions_swapped, "out of order"),
        (digit_of_a_text_field_changed, "sigma is "),
        (digit_of_a_record_changed, "the bytes differ"),
        (digit_of_a_state_changed, "the state does not equal the last emission"),
        (fields_of_a_state_reordered, "the state has its fields in the order"),
        (state_with_a_field_more, "the state does not equal the last emission"),
        (record_of_an_earlier_state, "the record does not equal that of the last emission"),
        (record_removed, "the record is missing"),
        (entry_left_pending, "1 entries are not acknowledged"),
        (entry_left_unread, "read up to 1-0"),
        (counter_off_by_one, "the counter late is 3, expected 2"),
        (window_without_a_close, "the window in Redis is not the last 20 closes"),
        (dead_letter_missing, "is missing"),
        (dead_letter_doubled, "the entry already has one"),
        (dead_letter_of_a_good_entry, "no bad entry has this id"),
    ],
)
def test_an_altered_history_is_not_clean(alter: Callable[[History], None], said: str) -> None:
    history = true_history()
    alter(history)
    found = violations(history)
    assert [text for text in found if said in text] != [], found


@pytest.mark.parametrize("name", ["history.jsonl", "history.jsonl.gz"])
def test_a_history_is_read_back_from_its_file_unchanged(name: str, tmp_path: Path) -> None:
    history = true_history()
    history.inputs.append(("1795355562295-0", {"data": as_text(b"\x81\xa1\xff")}))
    histories.write(history, tmp_path / name)
    assert histories.read(tmp_path / name) == history


def test_the_checker_loads_no_code_of_the_project() -> None:
    """Code that it does not load cannot be shared."""
    code = (
        "import sys; from tests.fault.chaos import checker; "
        "print({name for name in sys.modules if name.partition('.')[0] == 'marketstate'})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert loaded.stdout == b"set()\n"


def test_the_same_seed_feeds_the_same_entries() -> None:
    assert entries(3, 500, T0, SYMBOLS) == entries(3, 500, T0, SYMBOLS)
    assert entries(3, 500, T0, SYMBOLS) != entries(4, 500, T0, SYMBOLS)


def true_history() -> History:
    """24 closes of one symbol, some entries that do not count, and the correct result."""
    settings = judged_by(entries=30, max_ahead_ms=86_400_000)
    closes = [Close("AUSDT", T0 + 60_000 * i, 100 + (37 * i % 101) / 50) for i in range(24)]
    flaws = [
        {"symbol": "AUSDT", "close": "1.5", "close_time": str(T0 + 60_000 * 23), "x": "1"},
        {"symbol": "AUSDT", "close": "1.5", "close_time": str(T0), "x": "1"},
        {"symbol": "AUSDT", "close": "1.5", "close_time": str(T0 + 60_001), "confirm": "True"},
        {"symbol": "AUSDT", "close": "-1", "close_time": str(T0 + 60_000 * 24)},
        {"payload": "no candle"},
        {"symbol": "AUSDT", "close": "1", "close_time": str(T0 + 60_000 * 24), "interval": "5m"},
    ]
    fed = [
        {"symbol": name, "close_time": str(at_ms), "close": repr(close), "closed": "true"}
        for name, at_ms, close in closes
    ]
    inputs = [
        (f"{T0}-{i}", fields | {"trace_id": str(i)}) for i, fields in enumerate([*fed, *flaws])
    ]
    symbol = Published("AUSDT", Symbol(closes), [], None, None, settings)
    emitted = [_published(expected_record(symbol, Due(i, 0))) for i in range(16, 24)]
    origin = {"error": "bad", "source_stream": "quantum:stream:market.klines"}
    return History(
        settings=settings,
        inputs=inputs,
        outputs=[(f"{T0}-{i}", stream) for i, (_, stream) in enumerate(emitted)],
        dead=[
            (f"{T0}-{i}", fields | origin | {"source_id": entry_id})
            for i, (entry_id, fields) in enumerate(inputs[27:29])
        ],
        counters={
            "applied": "24",
            "emitted": "8",
            "revised": "1",
            "late": "2",
            "ignored": "1",
            "dead": "2",
        },
        group={
            "pending": 0,
            "lag": 0,
            "last-delivered-id": inputs[-1][0],
            "last-generated-id": inputs[-1][0],
        },
        states={"AUSDT": emitted[-1][0]},
        records={"AUSDT": emitted[-1][1]["record"]},
        windows={
            "AUSDT": [struct.pack("<qd", at_ms, close).hex() for _, at_ms, close in closes[4:]]
        },
        reference={
            "AUSDT": {
                str(close.close_time_ms): digest(stream["record"])
                for close, (_, stream) in zip(closes[16:], emitted, strict=True)
            }
        },
    )


def _published(record: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The fields of the hash and of the stream entry."""
    text = json.dumps(record)
    probs, seconds = record["regime_probs"], str(record["close_time_ms"] // 1_000)
    both = {
        "sigma": f"{record['sigma']:.8f}",
        "mu": f"{record['mu']:.8f}",
        "ts": f"{record['ts']:.6f}",
    }
    in_hash = both | {f"p_{name}": f"{probs[name]:.6f}" for name in ("trend", "mr", "chop")}
    features = record["features"]
    in_hash |= {name: f"{features[name]:.6f}" for name in ("dp", "vr", "spike_proxy")}
    in_hash |= {"ts_timestamp": seconds, "buffer_size": str(record["buffer_size"])}
    in_stream = both | {
        "symbol": record["symbol"],
        "regime": record["regime"],
        "timestamp": seconds,
        "record": text,
    }
    return in_hash, in_stream


def _other_digit(text: str) -> str:
    """The text with its last digit changed."""
    last = len(text.partition("e")[0]) - 1
    return f"{text[:last]}{(int(text[last]) + 1) % 10}{text[last + 1 :]}"
