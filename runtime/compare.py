"""Comparing what a tool answered with what was expected; on the host, from raw JSON."""

from __future__ import annotations

import math
from typing import Final

from pydantic import JsonValue

RELATIVE_TOLERANCE: Final = 1e-6
"""Of floats in examples, stated in the evidence; repeats of a run must agree exactly."""

ABSOLUTE_TOLERANCE: Final = 1e-9


def matches(expected: JsonValue, actual: JsonValue) -> bool:
    """Whether two JSON values are the same, floats within the tolerance.

    Integers and floats compare as numbers, for JSON has one kind of number; true is not 1.
    """
    match expected, actual:
        case bool(), _:
            return expected is actual
        case _, bool():
            return False
        case int(), int():
            return expected == actual
        case ((int() | float()), (int() | float())):
            return _close(expected, actual)
        case list(), list():
            return len(expected) == len(actual) and all(map(matches, expected, actual))
        case dict(), dict():
            return expected.keys() == actual.keys() and all(
                matches(value, actual[key]) for key, value in expected.items()
            )
        case _:
            return expected == actual


def _close(expected: float, actual: float) -> bool:
    try:
        return math.isclose(
            expected, actual, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE
        )
    except OverflowError:  # an integer too large for a float is close to nothing but itself
        return expected == actual
