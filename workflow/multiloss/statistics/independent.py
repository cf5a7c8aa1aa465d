"""A value on one set of patients minus the same value on another set."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def difference(
    first: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    second: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
) -> tuple[Array, Array, Array]:
    """First minus second with its interval, from two independent estimates with theirs.

    Each is (value, low, high) of any one shape; returned are difference, low and high of that
    shape. The variance of each estimate is recovered from its interval, on the side that matters:
    low = d - sqrt((a - low_a)^2 + (high_b - b)^2), high = d + sqrt((high_a - a)^2 + (b - low_b)^2).
    At the level of the two intervals, which may be of any method, lopsided or of one another's
    size; for Wilson's it is Newcombe's (1998) hybrid score interval. NaN where an end is unknown.
    Zou GY, Donner A (2008), Construction of confidence limits about effect measures: a general
    approach, Statistics in Medicine 27:1693-1702, doi:10.1002/sim.3095.
    """
    a, low_a, high_a = (np.asarray(part, dtype=np.float64) for part in first)
    b, low_b, high_b = (np.asarray(part, dtype=np.float64) for part in second)
    apart = a - b
    low = apart - np.hypot(a - low_a, high_b - b)
    high = apart + np.hypot(high_a - a, b - low_b)
    return apart, low, high
