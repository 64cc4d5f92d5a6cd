"""Whatever a cache has and whatever its times mean: each close gets in once, or is told."""

from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from marketstate.worker.engine.cache_times import Stream, Wanted
from marketstate.worker.engine.cache_values import Cached
from marketstate.worker.engine.cached_closes import closes_before

MINUTE_MS = 60_000
FIRST_MS = 1_746_373_260_000 - 1
WANTED = Wanted(MINUTE_MS, most=100, too_long_ms=100 * MINUTE_MS)


@dataclass
class Case:
    before: list[float]
    """Closes of the candles before the first one."""
    stream: list[float]
    ahead: int
    """Candles of the stream that the cache has too."""
    unclosed: float | None
    """The last value of the cache, if that is of a candle that has not closed."""
    hole: int
    """The candle that the cache does not have, if there is one; counted from the first one."""
    means: str
    is_named: bool
    late_ms: int

    def expected(self) -> list[float]:
        return [c for i, c in enumerate(self.before) if i - len(self.before) != self.hole]

    def values(self) -> list[Cached]:
        closes = [*self.before, *self.stream[: self.ahead]]
        if self.unclosed is not None:
            closes.append(self.unclosed)
        first = -len(self.before)
        of_close = -MINUTE_MS + 1 if self.means == "open" else self.late_ms
        return [
            Cached(
                close,
                FIRST_MS + number * MINUTE_MS + of_close,
                self.means if self.is_named else "vague",  # type: ignore[arg-type]
            )
            for number, close in enumerate(closes, start=first)
            if number != self.hole
        ]


# Few prices, so that the same one comes again.
PRICES = st.sampled_from([1.0, 1.1, 1.2, 1.3])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    stream = draw(st.lists(PRICES, min_size=1, max_size=6))
    ahead = draw(st.integers(0, len(stream)))
    return Case(
        draw(st.lists(PRICES, min_size=5, max_size=12)),
        stream,
        ahead,
        draw(st.none() | PRICES) if ahead == len(stream) else None,
        draw(st.integers(-12, 5)),
        draw(st.sampled_from(["open", "close"])),
        draw(st.booleans()),
        draw(st.sampled_from([0, 1, 1_500])),
    )


@given(cases())
@example(Case([1.0] * 5, [1.1], 1, 1.1, 0, "open", is_named=False, late_ms=0))
@settings(max_examples=400, deadline=None)
def test_no_close_gets_in_twice_and_at_most_the_last_one_is_left_out_and_told(case: Case) -> None:
    times_ms = [FIRST_MS + number * MINUTE_MS for number in range(len(case.stream))]
    stream = Stream(FIRST_MS, times_ms, case.stream)
    found = closes_before(case.values(), stream, WANTED)
    closes, expected = list(found.history[1]), case.expected()
    if closes == expected:
        # If they have no candle in common, close times count as open times: one may be untold. And
        # a candle that has not closed may look like the first one, with the hole before it.
        is_vague = case.hole in (-1, 0) and not case.is_named
        is_missing = -len(case.before) < case.hole < 0
        assert found.missing == is_missing or found.notes or is_vague
        return
    assert (closes, case.is_named) == (expected[:-1], False)
    assert found.missing >= 1 or expected[-1] == case.stream[0]
