"""Rules such as `sigma>=0.005`: for how many states they hold, and how often they begin to."""

import argparse
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from marketstate.worker.commands.options import number
from marketstate.worker.commands.plot.series import DAY_MS, FEATURES, Series
from marketstate.worker.commands.regime_words import REGIMES

_QUANTITIES: Final = {
    **{name: name for name in ("close", "sigma", "mu", "ts", *FEATURES)},
    **{f"p_{regime}": regime for regime in REGIMES},
}
_OPERATORS: Final[dict[str, Callable[[Any, float], Any]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_RULE: Final = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([-+.\w]+)\s*")


class Rule(NamedTuple):
    text: str
    name: str
    """The key in the numbers of a series."""
    operator: str
    bound: float


class Fired(NamedTuple):
    states: int
    """For which the rule holds."""
    share: float
    times: int
    """How often it began to hold: it did not for the state before, or there is none."""
    times_per_day: float


def rule(text: str) -> Rule:
    """For the command line."""
    match = _RULE.fullmatch(text)
    bound = number(match[3]) if match else math.nan
    if match is None or match[1] not in _QUANTITIES or not math.isfinite(bound):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a rule such as 'sigma>=0.005': one of {', '.join(_QUANTITIES)}, "
            "then one of >= > <= <, then a number"
        )
    if match[1].startswith("p_") and not 0 <= bound <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a probability is from 0 to 1, not in percent")
    return Rule(text.strip(), _QUANTITIES[match[1]], match[2], bound)


def fired(rule: Rule, many: Sequence[Series]) -> Fired:
    states, holding, times, length_ms = 0, 0, 0, 0
    for series in many:
        holds = _OPERATORS[rule.operator](series.numbers[rule.name], rule.bound)
        states += len(holds)
        holding += int(np.count_nonzero(holds))
        times += int(np.count_nonzero(holds & ~np.concatenate(([False], holds[:-1]))))
        length_ms += len(holds) * series.step_ms
    return Fired(holding, holding / states, times, times / (length_ms / DAY_MS))
