"""What gather makes of entries, without Redis."""

import pytest

from marketstate.worker.commands.gather.judging import Judge
from marketstate.worker.commands.gather.taken import GATHERED, UNCLOSED, Taken
from tests.support.feeding import small_settings

HOUR_MS = 3_600_000
CLOSE_MS = 1_746_374_399_999


@pytest.mark.parametrize("interval", [{}, {b"interval": b"1h"}])
@pytest.mark.parametrize(
    ("ahead_ms", "end"),
    [(0, GATHERED), (59_000, GATHERED), (61_000, UNCLOSED), (HOUR_MS - 1, UNCLOSED)],
)
def test_whether_an_hourly_candle_without_a_flag_has_closed_goes_by_the_hour(
    interval: dict[bytes, bytes], ahead_ms: int, end: str
) -> None:
    fields = {b"symbol": b"BTCUSDT", b"close": b"9.5", b"close_time": b"%d" % CLOSE_MS}
    judge = Judge(small_settings(candle_interval="1h"), None, None, {})
    written = b"%d-0" % (CLOSE_MS - ahead_ms)
    assert judge.judge([Taken("candles", written, fields | interval)]).counts == {end: 1}
