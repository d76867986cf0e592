"""Numbers in words: intervals, differences, p-values."""

import math

from kesikaran.metrics.intervals import Interval
from kesikaran.metrics.paired import Difference


def significance_level(confidence: float) -> float:
    """The p-value up to which a difference counts: 0.05 at a confidence of 0.95."""
    return round(1 - confidence, 12)


def p_in_words(p_value: float) -> str:
    """`0.031`, `< 0.0001`; `-` where it is undefined."""
    if math.isnan(p_value):
        return "-"
    return f"{p_value:.2g}" if p_value >= 0.0001 else "< 0.0001"


def in_words(found: Interval | Difference, form: str = ".3f") -> str:
    """`0.853 [0.787, 0.902]`, `+0.040 [-0.010, +0.091]` of a difference; `-` where it is undefined."""
    value = found.difference if isinstance(found, Difference) else found.value
    form = f"+{form}" if isinstance(found, Difference) else form
    if math.isnan(value):
        return "-"
    return f"{value:{form}}" + ("" if math.isnan(found.low) else f" [{found.low:{form}}, {found.high:{form}}]")
