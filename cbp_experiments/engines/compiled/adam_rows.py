"""Adam's arithmetic on rows of weights: an update, and the steps of a row that waited.

Everything is inlined: a call that passes all of Adam's arrays takes as long as a hundred weights.
"""

from typing import Any, NamedTuple

import numpy as np

from cbp_experiments.compiling import compiles_in, inlined
from cbp_experiments.engines.compiled.structures import SMALLEST


@compiles_in(3.6)
class AdamArrays(NamedTuple):
    """Hyperparameters, moments and work space. Moments are laid out like the weights and biases.

    The corrections 1 - beta^t, kept as moving averages of 1, belong to units, not to weights: a weight is as old as the
    younger of the two units it joins. Row l is layer l's inputs, so that inputs and outputs of the network have rows,
    too. Without replacement, all weights are as old as the network: corrections are `[1, 1]`, and the other inverses
    are 0.
    """

    step_size: Any  # of the weights' dtype
    eager: bool  # rows whose input is 0 are updated at once, until they have faded
    fade: int  # updates without gradient after which a row rests (updates_to_fade)
    betas: np.ndarray  # float [4]: beta1, 1 - beta1, beta2, 1 - beta2
    constants: np.ndarray  # float [3]: epsilon, weight decay, the smallest moment that is kept
    paired: bool  # all weights are equally old, and epsilon^2 does not underflow: two rows share a division
    powers: np.ndarray  # float [2, the most updates of a call + 1]: beta1^k, beta2^k (powers)
    first: np.ndarray
    root: np.ndarray  # of the second moment
    first_bias: np.ndarray  # float [L, largest stride]
    root_bias: np.ndarray
    correction1: np.ndarray  # float [L + 1, largest stride]
    correction2: np.ndarray
    inverse1: np.ndarray  # float [L + 1, largest stride]: 1 / (1 - beta1^t)
    inverse2: np.ndarray  # float [L + 1, largest stride]: 1 / sqrt(1 - beta2^t)
    updates: np.ndarray  # int64 [1]: since all rows were up to date
    last: np.ndarray  # int64 [L, largest stride]: the last of these updates in which a row's input was not 0
    rates: np.ndarray  # float [the most updates of a call]: step size / (1 - beta1^t) of the oldest weights
    bends: np.ndarray  # float [the most updates of a call]: 1 / sqrt(1 - beta2^t) of the oldest weights
    sums: np.ndarray  # float64 [5, the most updates of a call] (sum_steps), or [5, 0] if they are not used
    ages: np.ndarray  # float64 [2, fade] (ages)
    parts: np.ndarray  # float64 [fade]: work space
    negligible: float  # half of the dtype's epsilon, minus the rounding of sums
    moved: np.ndarray  # float [largest stride]: work space

    def begin_task(self, key: int) -> None:
        pass

    def state(self, within_task: bool) -> dict[str, np.ndarray]:
        names = ("first", "root", "first_bias", "root_bias", "correction1", "correction2")
        waiting = ("updates", "last", "rates", "bends", "sums") if within_task else ()
        kept = {f"adam_{name}": getattr(self, name) for name in names}
        return kept | {f"task_adam_{name}": getattr(self, name) for name in waiting}


def updates_to_fade(beta1: float, beta2: float, dtype: np.dtype, most: int) -> int:
    """Count the updates without gradient after which all further steps add up to less than rounding.

    Rounding is that of the step at the last gradient. With r = beta1 / sqrt(beta2) < 1, the step i updates later is at
    most r^i sqrt(1 + i) times that step: m decays as beta1^i and sqrt(v) as sqrt(beta2)^i; epsilon and the correction
    of m only make later steps smaller; 1 - beta2^t is concave in t and 0 at 0, so it grows at most (1 + i)-fold. With
    sqrt(1 + i) <= 1 + i, the steps from i = n on add up to at most r^n ((1 + n) / (1 - r) + r / (1 - r)^2). The result
    is n - 1 for the first n below `most` where this is less than half the dtype's epsilon, or `most` if there is none.
    """
    r, unit = beta1 / beta2**0.5 if beta2 > 0 else 1.0, np.finfo(dtype).eps / 2
    if r >= 1:
        return most
    enough = (n - 1 for n in range(1, most) if r**n * ((1 + n) / (1 - r) + r / (1 - r) ** 2) < unit)
    return next(enough, most)


def ages(beta1: float, beta2: float, fade: int) -> np.ndarray:
    """`[2, fade]`: column fade - i has r^i and beta2^(-i/2), for a weight whose last gradient was i updates ago."""
    i = np.arange(fade, 0, -1)
    return np.array([(beta1 / beta2**0.5) ** i, beta2 ** (-i / 2)])


def powers(beta1: float, beta2: float, dtype: np.dtype, most: int) -> np.ndarray:
    """`[2, most + 1]`: the share of m and v that is left after so many updates, or 0."""
    left = np.array([[beta1], [beta2]]) ** np.arange(most + 1)
    return np.where(left > SMALLEST, left, 0).astype(dtype)


@inlined
def sum_steps(adam: AdamArrays) -> None:
    """Add the current update to the sums that `move_row` needs for all waiting rows.

    For a row that began to wait with m and root s, this update moves the weight by a m / (s + epsilon e). Here a = rate
    / bend r^i and e = beta2^(-i/2) / bend. `sums[k, b]` is the sum of a e^k over the updates since b.
    """
    now = adam.updates[0]
    count = min(adam.fade, now + 1)
    faded, grown, parts = adam.ages[0, adam.fade - count :], adam.ages[1, adam.fade - count :], adam.parts
    rate, bend = adam.rates[now] / float(adam.bends[now]), 1 / float(adam.bends[now])
    for i in range(count):
        parts[i] = rate * faded[i]
    for k in range(adam.sums.shape[0]):
        adam.sums[k, now] = 0
        sums = adam.sums[k, now + 1 - count :]
        for i in range(count):
            sums[i] += parts[i]
            parts[i] *= bend * grown[i]


@inlined
def adam_row(
    w: np.ndarray,
    first: np.ndarray,
    root: np.ndarray,
    i: int,
    x: Any,
    gradient: np.ndarray,
    left1: Any,
    left2: Any,
    inverse1: Any,
    inverse2: Any,
    adam: AdamArrays,
    layer: int,
) -> Any:
    """Update the weights `w[i]` out of one unit with activation x. Returns w[i] . gradient before the update.

    left1, left2: the share of the moments that is left (powers). A weight's count of updates is the smaller of its two
    units' counts, so its inverse correction is the larger one.
    """
    rest1, rest2 = adam.betas[1], adam.betas[3]
    epsilon, decay, smallest = adam.constants[0], adam.constants[1], adam.constants[2]
    columns1, columns2, step_size = adam.inverse1[layer + 1], adam.inverse2[layer + 1], adam.step_size
    n, zero = w.shape[1], w.dtype.type(0)
    back = zero
    for j in range(n):
        g = x * gradient[j] + decay * w[i, j]
        m = left1 * first[i, j] + rest1 * g
        v = left2 * (root[i, j] * root[i, j]) + rest2 * g * g
        first[i, j] = zero if abs(m) <= smallest else m  # NaN stays NaN
        root[i, j] = np.sqrt(zero if v <= smallest else v)
    for j in range(n):  # a separate loop: with more arrays in one, the compiler does not vectorize
        back += w[i, j] * gradient[j]
        bend = root[i, j] * max(inverse2, columns2[j]) + epsilon
        w[i, j] -= step_size * max(inverse1, columns1[j]) * first[i, j] / bend
    return back


@inlined
def adam_pair(
    w: np.ndarray,
    first: np.ndarray,
    root: np.ndarray,
    rows: np.ndarray,
    x: np.ndarray,
    q: int,
    gradient: np.ndarray,
    back: np.ndarray,
    rate: Any,
    inverse2: Any,
    adam: AdamArrays,
    layer: int,
) -> None:
    """Like adam_row, for rows `rows[q]` and `rows[q + 1]`, which share a division; all weights are equally old."""
    i0, i1, x0, x1, now = rows[q], rows[q + 1], x[q], x[q + 1], adam.updates[0]
    waited0, waited1 = now - adam.last[layer, i0], now - adam.last[layer, i1]
    left10, left20, left11, left21 = (
        adam.powers[0, waited0],
        adam.powers[1, waited0],
        adam.powers[0, waited1],
        adam.powers[1, waited1],
    )
    rest1, rest2, epsilon, smallest = adam.betas[1], adam.betas[3], adam.constants[0], adam.constants[2]
    zero = w.dtype.type(0)
    back0 = back1 = zero
    for j in range(w.shape[1]):
        u0, u1, g = w[i0, j], w[i1, j], gradient[j]
        back0 += u0 * g
        back1 += u1 * g
        g0, g1 = x0 * g, x1 * g
        m0, m1 = left10 * first[i0, j] + rest1 * g0, left11 * first[i1, j] + rest1 * g1
        v0 = left20 * (root[i0, j] * root[i0, j]) + rest2 * g0 * g0
        v1 = left21 * (root[i1, j] * root[i1, j]) + rest2 * g1 * g1
        m0, m1 = zero if abs(m0) <= smallest else m0, zero if abs(m1) <= smallest else m1
        s0, s1 = np.sqrt(zero if v0 <= smallest else v0), np.sqrt(zero if v1 <= smallest else v1)
        first[i0, j], first[i1, j], root[i0, j], root[i1, j] = m0, m1, s0, s1
        bend0, bend1 = s0 * inverse2 + epsilon, s1 * inverse2 + epsilon
        both = rate / (bend0 * bend1)
        w[i0, j], w[i1, j] = u0 - m0 * bend1 * both, u1 - m1 * bend0 * both
    back[q], back[q + 1] = back0, back1


@inlined
def move_row(w: np.ndarray, first: np.ndarray, root: np.ndarray, i: int, begin: int, adam: AdamArrays) -> None:
    """Move the weights `w[i]` by the updates since `begin`, in which they had no gradient (sum_steps).

    Let c be the mean of e weighted by a, d = 1 / (s + epsilon c), y = epsilon c d, and mk the k-th central moment of
    e/c. The sum of a / (s + epsilon e) is d (sum of a) (1 + m2 y^2 - m3 y^3 + ...). The series stops there if the rest
    is below rounding: the remainder, the mean of (e/c - 1)^4 y^4 / (1 + (e/c - 1) y), is at most m4 c/e for the first
    e, because y <= 1 and e grows; and the sum is at least its first term, because 1 / (s + epsilon e) is convex.
    Otherwise (soon after the beginning, when e changes fast; always in float64), all steps are taken one by one.
    """
    steps, epsilon = min(adam.updates[0] - begin, adam.fade), adam.constants[0]
    number, n = w.dtype.type, w.shape[1]
    if steps <= 0:
        return
    if adam.sums.shape[1] > 0:
        total = adam.sums[0, begin]
        e1, e2 = adam.sums[1, begin] / total, adam.sums[2, begin] / total
        e3, e4 = adam.sums[3, begin] / total, adam.sums[4, begin] / total
        m2, m3 = e2 / e1**2 - 1, e3 / e1**3 - 3 * e2 / e1**2 + 2
        m4 = e4 / e1**4 - 4 * e3 / e1**3 + 6 * e2 / e1**2 - 3
        if m4 * e1 * adam.bends[begin] < adam.negligible:  # 1 / bend is less than the first e
            one, middle, sum_a, second, third = number(1), epsilon * number(e1), number(total), number(m2), number(m3)
            for j in range(n):
                d = one / (root[i, j] + middle)
                y = middle * d
                w[i, j] -= sum_a * first[i, j] * d * (one + y * y * (second - y * third))
            return
    replay_row(w, first, root, i, begin, steps, adam)


@inlined
def replay_row(
    w: np.ndarray, first: np.ndarray, root: np.ndarray, i: int, begin: int, steps: int, adam: AdamArrays
) -> None:
    """Like move_row, update by update."""
    number, epsilon, moved = w.dtype.type, adam.constants[0], adam.moved
    beta1, beta2 = float(adam.betas[0]), float(adam.betas[2])
    n = w.shape[1]
    for j in range(n):
        moved[j] = 0
    shrink1 = shrink2 = 1.0
    for t in range(begin, begin + steps):
        shrink1 *= beta1
        shrink2 *= np.sqrt(beta2)
        rate, bend = number(shrink1 * adam.rates[t]), number(shrink2 * adam.bends[t])
        for j in range(n):
            moved[j] += rate * first[i, j] / (bend * root[i, j] + epsilon)
    for j in range(n):
        w[i, j] -= moved[j]
