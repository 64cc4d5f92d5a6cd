"""How many entries a batch may have."""

from marketstate.worker.engine.batch_size import AFTER_A_PAUSE, FIRST, BatchSize


def test_it_doubles_up_to_the_setting() -> None:
    size = BatchSize(100, longest_s=1.0)
    seen = []
    for _ in range(5):
        seen.append(size.most)
        size.took(0.001, size.most)
    assert seen == [FIRST, 32, 64, 100, 100]


def test_it_is_no_larger_than_what_fits_into_the_time_and_never_0() -> None:
    size = BatchSize(500, longest_s=1.0)
    size.took(2.0, 16)
    assert size.most == 8
    size.took(100.0, 8)
    assert size.most == 1


def test_after_a_pause_it_is_small_again() -> None:
    """Otherwise the first states of a burst would wait until its last ones are calculated."""
    size = BatchSize(500, longest_s=1.0)
    size.most = 500
    size.took_all()
    assert size.most == AFTER_A_PAUSE
    size.most = 20
    size.took_all()
    assert size.most == 20
