"""How far rounding alone may carry two computations of the same run apart."""

from collections.abc import Callable

import numpy as np

from tests.recording import Recorded, learn_all

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24}  # the largest relative error of one rounding
NUDGE = 2.0**-24
DRAWS = 3


def nudge(group: Recorded, draw: int) -> None:
    """Change every weight of a new group by the relative amount NUDGE, up or down at random."""
    rng = np.random.default_rng(draw)
    for weight in group.kept()["weight"]:  # views
        weight *= 1 + rng.choice([-NUDGE, NUDGE], weight.shape)


def sensitivity(new_group: Callable[[], Recorded], measure: Callable[[Recorded], np.ndarray]) -> float:
    """The largest change of what `measure` reads from a float64 group, when its initial weights are nudged."""
    exact = measure(new_group())
    changes = []
    for draw in range(DRAWS):
        group = new_group()
        nudge(group, draw)
        changes.append(np.abs(measure(group) - exact).max())
    return float(max(changes))


def tolerance(sensitivity: float, updates: int, terms: int, dtype: str) -> float:
    """The difference that rounding in `dtype` may make to something that a NUDGE of all weights moves by `sensitivity`.

    Two sources. Each update rounds the weights that it writes, which nudges them by at most the unit of rounding u;
    the errors are as good as independent, so T updates add up like sqrt(T) nudges of size u. And what is computed from
    the weights goes through sums of at most n terms: like weights nudged by sqrt(n) u, once more by the same argument
    (in the update it is multiplied by the step size, and so is part of the first source). Together
    (sqrt(T) + sqrt(n)) u / NUDGE x sensitivity. The sensitivity is the largest over all updates and draws, not the
    usual one, and leaves room for the tails of both sums.
    """
    return (updates**0.5 + terms**0.5) * UNIT[dtype] / NUDGE * sensitivity


def losses_of(group: Recorded) -> np.ndarray:
    learn_all(group)
    return group.losses()


def rank_error(units: int, error: float) -> float:
    """The relative error of an effective rank whose singular values are off by up to `error` x the largest one.

    metrics.singular_values adds an error of its own: it sets what is below sqrt(n eps) of the largest to 0. With
    f(p) = -p log p, an error d of p changes f(p) by at most f(d) (f is concave and f(0) = 0); normalizing the n values
    to sum 1 doubles the errors at most. So the entropy is off by n f(2 d), and its exponential by that, relatively.
    """
    d = error + (units * np.finfo(np.float64).eps) ** 0.5
    return -2 * units * d * float(np.log(2 * d))
