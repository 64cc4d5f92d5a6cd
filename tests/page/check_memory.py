"""A page that is left open does not grow."""

import pytest

from tests.page.browser import Browser
from tests.page.fixtures import Stage, of
from tests.support.worker_process import wait_until

UPDATES = (2_000, 20_000)
# The driver's own questions leave a little; a state that is kept takes hundreds of bytes.
MOST_BYTES_PER_UPDATE = 30


@of(200)
def test_memory_is_the_same_after_2_000_and_after_20_000_updates(
    browser: Browser, stage: Stage
) -> None:
    browser.look((1_920, 1_080))
    browser.run(f"location.hash = '#market={stage.symbols[1]}'")
    wait_until(lambda: browser.find("canvas").is_displayed(), "its plots are there")
    used, updates, symbol = list[tuple[int, int]](), 0, stage.symbols[-1]
    for wanted in UPDATES:
        while updates < wanted:
            closes = {one.symbol: one for one in stage.close(stage.symbols)}
            updates += len(closes)
            browser.until_cell(symbol, "sigma", f"{100 * closes[symbol].sigma:.4f}")
        used.append((browser.heap_bytes(), browser.nodes()))
    print(f"bytes and nodes after {UPDATES} updates: {used}")
    (bytes_before, nodes_before), (bytes_after, nodes_after) = used
    updates_between = UPDATES[1] - UPDATES[0]
    assert bytes_after - bytes_before < MOST_BYTES_PER_UPDATE * updates_between
    assert nodes_after == pytest.approx(nodes_before, abs=50)
