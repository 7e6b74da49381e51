"""Week 9: is one gap larger than another?"""

from collections.abc import Callable
from math import hypot

from medssl.course.exercises.check import check


def gap_of_gaps(mine: Callable) -> Callable:
    """Week 9: gap_of_gaps(a, b): a and b are (mean, lo, hi) of two independent differences, as on two data sets.

    Returns (mean, lo, hi) of a less b. The lower end lies sqrt((a - lo of a)^2 + (hi of b - b)^2) below the mean, the
    upper one sqrt((hi of a - a)^2 + (b - lo of b)^2) above it: b is taken away, so its upper side moves the lower end.
    """
    def right(a, b):
        mean = a[0] - b[0]
        return mean, mean - hypot(a[0] - a[1], b[2] - b[0]), mean + hypot(a[2] - a[0], b[0] - b[1])

    def packages_own(a, b):
        from medssl.course.writeup.facts import gap_of_gaps

        return gap_of_gaps(a, b)

    mistakes = {
        "end less end: that interval would be far too narrow, or upside down":
            lambda a, b: (a[0] - b[0], a[1] - b[1], a[2] - b[2]),
        "lengths added: right only if both erred to the worst side at once; take the root of the squares":
            lambda a, b: (a[0] - b[0], a[1] - b[2], a[2] - b[1]),
        "b's sides are not exchanged: b is taken away, so its upper side moves the lower end":
            lambda a, b: (a[0] - b[0], a[0] - b[0] - hypot(a[0] - a[1], b[0] - b[1]),
                          a[0] - b[0] + hypot(a[2] - a[0], b[2] - b[0])),
        "b less a: the sign is turned": lambda a, b: right(b, a),
    }
    cases = [((0.10, 0.02, 0.15), (0.03, -0.01, 0.09)), ((-0.02, -0.10, 0.01), (0.04, 0.02, 0.05)),
             ((0.0, -0.3, 0.1), (0.0, -0.1, 0.4))]
    hint = "lo = mean - sqrt((a - lo_a)^2 + (hi_b - b)^2), hi = mean + sqrt((hi_a - a)^2 + (b - lo_b)^2)"
    return check(mine, right, cases, hint, mistakes, also=packages_own, serves=packages_own)
