"""What a flag says."""

import pytest

from marketstate.schemas.closed import FLAGS, closed_by_flags, flag_of

SAYS_NOTHING = ["", None, "null"]


@pytest.mark.parametrize("name", FLAGS)
def test_an_empty_flag_says_nothing_and_other_words_are_refused(name: str) -> None:
    assert [flag_of(name, value) for value in SAYS_NOTHING] == [None] * 3
    assert [flag_of(name, value) for value in ("TRUE", 0, False, "1")] == [True, False, False, True]
    if name != "x":
        with pytest.raises(ValueError, match=f"^{name} is 'maybe'; expected true, false, 1 or 0$"):
            flag_of(name, "maybe")


@pytest.mark.parametrize("value", ["maybe", "12.5", 2, 1.0, [True], {"x": 1}])
def test_an_x_may_be_something_else(value: object) -> None:
    """In a file it may be called X."""
    assert flag_of("x", value) is flag_of("X", value) is None
    assert closed_by_flags([("x", value), ("final", "0")]) is False
