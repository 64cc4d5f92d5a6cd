"""Candles as cryptofeed's Redis stream back end writes them."""

import pytest

from marketstate.schemas.candle import Candle, CandleRejected, decode_candle
from tests.support.candles import as_cryptofeed, candle

ONE = candle("BTC-USDT", 3, 100.5)
START_S = (ONE.close_time - 59_999) / 1_000


def decoded(**changes: str) -> Candle:
    fields = {name: text for name, text in (as_cryptofeed(ONE) | changes).items() if text}
    raw = {name.encode(): text.encode() for name, text in fields.items()}
    return decode_candle(raw, ONE.close_time + 90)


@pytest.mark.parametrize(
    "stop_s",
    [
        pytest.param(59.999, id="the last millisecond: Binance, Bybit"),
        pytest.param(60.0, id="the next open: Bitget, Kraken, OKX, Phemex"),
        pytest.param(59.9, id="a tenth before: FMFW, Gate.io"),
        pytest.param(59.0, id="a second before: Crypto.com, Delta, Huobi, KuCoin"),
    ],
)
def test_a_candle_closes_at_the_same_time_whatever_its_exchange_calls_stop(stop_s: float) -> None:
    assert decoded(stop=repr(START_S + stop_s)) == ONE


def test_times_may_be_in_milliseconds_as_bybits_are() -> None:
    assert decoded(start=repr(START_S * 1_000), stop=repr(START_S * 1_000 + 59_999)) == ONE


@pytest.mark.parametrize(("word", "is_closed"), [("True", True), ("False", False), ("", True)])
def test_the_flag_says_whether_it_has_closed(word: str, is_closed: bool) -> None:
    assert decoded(closed=word).is_closed is is_closed


def test_a_flag_that_is_none_is_no_flag() -> None:
    """As of exchanges that say nothing; then the time at which the entry was written decides."""
    assert decoded(closed="None") == ONE
    fields = {name.encode(): text.encode() for name, text in as_cryptofeed(ONE).items()}
    before = decode_candle(fields | {b"closed": b"None"}, ONE.close_time - 30_000)
    assert before.is_closed is False


def test_a_month_ends_when_the_next_begins() -> None:
    for stop in ("1740787199.999", "1740998000.0"):  # some exchanges take 30.44 days for a month
        found = decoded(start="1738368000.0", stop=stop, interval="1M")
        assert found.close_time == 1_740_787_199_999  # February


def test_without_an_interval_that_can_be_read_stop_is_the_close_time() -> None:
    for interval in ("60", ""):
        found = decoded(interval=interval, stop=repr(START_S + 300), closed="False")
        assert found.close_time == START_S * 1_000 + 300_000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stop": repr(START_S + 300)}, "is not the end of a candle of 1m that starts at "),
        ({"stop": repr(START_S + 58)}, "is not the end of a candle of 1m that starts at "),
        ({"interval": "5m"}, "is not the end of a candle of 5m that starts at "),
        ({"start": "soon"}, "'soon' is not a time"),
        ({"stop": "None"}, "'None' is not a time"),
        ({"stop": "60"}, "'60' is not a time"),
        ({"interval": "1M"}, "is not the end of a candle of 1M that starts at "),
        ({"interval": "9999M"}, "are not a candle"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, str], words: str) -> None:
    with pytest.raises(CandleRejected, match=words) as caught:
        decoded(**changes)
    assert str(caught.value).startswith("the fields of cryptofeed are not a candle: ")


def test_a_flag_that_is_always_true_is_refused() -> None:
    with pytest.raises(CandleRejected, match=r"every update of this exchange .* with --updates"):
        decoded(exchange="OKX")
    assert decoded(exchange="OKX", closed="") == decoded()


def test_a_flat_candle_may_have_fields_of_these_names() -> None:
    """Only with `start` and `stop`, and without a close time, is it one of cryptofeed's."""
    fields = {b"symbol": b"A", b"close": b"1.5", b"close_time": b"%d" % ONE.close_time}
    odd = {b"start": b"x", b"stop": b"y"}
    assert decode_candle(fields | odd, ONE.close_time) == decode_candle(fields, ONE.close_time)
