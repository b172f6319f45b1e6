"""Adam compiled: learners/optimizers.py for one run at mini-batch 1.

The rows of inputs that are 0 have no gradient, yet their weights move on as the moments decay. Nobody reads them, so
they catch up when their input is next not 0: in all updates since, by the steps that they would have taken one by one
(the same but for rounding), of which those after the first `fade` are left out (updates_to_fade). Where every weight is
needed after every update no row waits: for utilities it still rests once faded, under weight decay it never does.

In place of the second moment v its root is kept: that is what the waiting weights move by. Their moments decay later
than they move, in the update that ends the waiting, which reads them anyway.

The functions on rows are inlined: a call that passes all arrays of Adam takes as long as a hundred weights.
"""

from typing import Any

import numpy as np

from cbp_experiments.compiling import inlined, jit
from cbp_experiments.engines.compiled.layers import matrix, pass_back
from cbp_experiments.engines.compiled.structures import Adam, Network, Normalization, Scratch, Update

SMALLEST = 1e-30  # smaller moments are set to 0: they move nothing, and denormal numbers are slow


def updates_to_fade(beta1: float, beta2: float, dtype: np.dtype, most: int) -> int:
    """Updates without gradient after which all steps to come add up to less than the rounding of the step before them.

    With r = beta1 / sqrt(beta2) < 1, the step i updates after the last gradient is at most r^i sqrt(1 + i) times the
    step then: m decays as beta1^i and sqrt(v) as sqrt(beta2)^i; epsilon and the correction of m make later steps
    smaller only; 1 - beta2^t is concave in t, 0 at 0, and so grows at most (1 + i)-fold. With sqrt(1 + i) <= 1 + i, the
    steps from i = n on add up to at most r^n ((1 + n) / (1 - r) + r / (1 - r)^2), which k = n - 1 makes less than half
    the dtype's epsilon. If none below `most` does: `most`.
    """
    r, unit = beta1 / beta2**0.5 if beta2 > 0 else 1.0, np.finfo(dtype).eps / 2
    if r >= 1:
        return most
    enough = (n - 1 for n in range(1, most) if r**n * ((1 + n) / (1 - r) + r / (1 - r) ** 2) < unit)
    return next(enough, most)


def ages(beta1: float, beta2: float, fade: int) -> np.ndarray:
    """`[2, fade]`: of a weight whose last gradient was i updates ago, column fade - i has r^i and beta2^(-i/2)."""
    i = np.arange(fade, 0, -1)
    return np.array([(beta1 / beta2**0.5) ** i, beta2 ** (-i / 2)])


def powers(beta1: float, beta2: float, dtype: np.dtype, most: int) -> np.ndarray:
    """`[2, most + 1]`: what is left of m and v after so many updates, or 0."""
    left = np.array([[beta1], [beta2]]) ** np.arange(most + 1)
    return np.where(left > SMALLEST, left, 0).astype(dtype)


@inlined
def age_corrections(adam: Adam, update: Update) -> None:
    """1 - beta^t, one update later, and its inverses; a note of those of the oldest weights."""
    one = adam.betas.dtype.type(1)
    for layer in range(adam.correction1.shape[0]):
        for i in range(adam.correction1.shape[1]):
            adam.correction1[layer, i] = adam.betas[0] * adam.correction1[layer, i] + adam.betas[1]
            adam.correction2[layer, i] = adam.betas[2] * adam.correction2[layer, i] + adam.betas[3]
            adam.inverse1[layer, i] = one / adam.correction1[layer, i]
            adam.inverse2[layer, i] = one / np.sqrt(adam.correction2[layer, i])
    adam.rates[adam.updates[0]] = update.step_size * adam.inverse1[0, 0]
    adam.bends[adam.updates[0]] = adam.inverse2[0, 0]
    if adam.sums.shape[1] > 0:
        sum_steps(adam)
    adam.updates[0] += 1


@inlined
def sum_steps(adam: Adam) -> None:
    """Take the present update up into the sums that `move_row` needs of all rows that are waiting.

    With the m and root s that a row had when it began to wait, it moves the weight by a m / (s + epsilon e), where
    a = rate / bend r^i and e = beta2^(-i/2) / bend: `sums[k, b]` is the sum of a e^k over the updates since b.
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


@jit
def update_layer_adam(
    network: Network, update: Update, normalization: Normalization | None, adam: Adam, scratch: Scratch, layer: int
) -> None:
    """Adam on a layer by the gradient of its outputs; leaves that of its inputs in `scratch.step[layer]`."""
    gradient, step_size, number = scratch.step[layer + 1], update.step_size, scratch.step.dtype.type
    zero, one, keep1, keep2 = number(0), number(1), adam.powers[0, 1], adam.powers[1, 1]
    rows, x, back, last = scratch.rows[layer], scratch.x[layer], scratch.back, adam.last[layer]
    w, first, root = matrix(network, layer), moments(network, adam.first, layer), moments(network, adam.root, layer)
    oldest1, oldest2 = adam.inverse1[0, 0], adam.inverse2[0, 0]
    inverse1, inverse2 = adam.inverse1[layer], adam.inverse2[layer]
    count, now = scratch.active[layer], adam.updates[0]
    paired = count // 2 * 2 if adam.paired else 0
    for q in range(0, paired, 2):
        adam_pair(w, first, root, rows, x, q, gradient, back, step_size * oldest1, oldest2, adam, layer)
    for q in range(paired, count):
        i = rows[q]
        waited = max(now - last[i] - (adam.fade if adam.eager else 0), 1)  # updates that the moments have not seen
        row1, row2 = max(oldest1, inverse1[i]), max(oldest2, inverse2[i])
        left1, left2 = adam.powers[0, waited], adam.powers[1, waited]
        back[q] = adam_row(w, first, root, i, x[q], gradient, left1, left2, row1, row2, adam, layer, step_size)
    for q in range(count):
        last[rows[q]] = now
    if adam.eager:
        for i in range(network.sizes[layer]):
            if 0 < now - last[i] <= adam.fade:
                row1, row2 = max(oldest1, inverse1[i]), max(oldest2, inverse2[i])
                adam_row(w, first, root, i, zero, gradient, keep1, keep2, row1, row2, adam, layer, step_size)
    shift = gradient
    if normalization is not None and layer + 1 < len(network.starts):
        shift, gain = normalization.shift_step, normalization.gain_step
        w, first, root = normalization.gain, normalization.first, normalization.root
        adam_row(w, first, root, layer, one, gain, keep1, keep2, oldest1, oldest2, adam, layer, step_size)
    w, first, root = network.biases, adam.first_bias, adam.root_bias
    adam_row(w, first, root, layer, one, shift, keep1, keep2, oldest1, oldest2, adam, layer, step_size)
    if layer > 0:
        pass_back(network, scratch, layer, one)


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
    adam: Adam,
    layer: int,
    step_size: Any,
) -> Any:
    """Update the weights `w[i]` that leave one unit of activation x. Returns w[i] . gradient before the update.

    left1, left2: what is left of the moments (powers). A weight's count of updates is the smaller of those of its two
    units, so its inverse correction is the larger.
    """
    rest1, rest2 = adam.betas[1], adam.betas[3]
    epsilon, decay, smallest = adam.constants[0], adam.constants[1], adam.constants[2]
    columns1, columns2 = adam.inverse1[layer + 1], adam.inverse2[layer + 1]
    n, zero = w.shape[1], w.dtype.type(0)
    back = zero
    for j in range(n):
        g = x * gradient[j] + decay * w[i, j]
        m = left1 * first[i, j] + rest1 * g
        v = left2 * (root[i, j] * root[i, j]) + rest2 * g * g
        first[i, j] = zero if abs(m) <= smallest else m  # a not-a-number stays one
        root[i, j] = np.sqrt(zero if v <= smallest else v)
    for j in range(n):  # a loop of its own: with more arrays in one, the compiler gives up vectors
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
    adam: Adam,
    layer: int,
) -> None:
    """As adam_row for the rows `rows[q]` and `rows[q + 1]`, which share a division, where all weights are as old."""
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


@jit
def catch_up_rows(network: Network, adam: Adam, layer: int, rows: np.ndarray, count: int) -> None:
    """Bring the weights of the rows `rows[:count]` of a layer up to date; their moments follow in the update."""
    if not adam.eager:
        w, first = matrix(network, layer), moments(network, adam.first, layer)
        root = moments(network, adam.root, layer)
        for q in range(count):
            move_row(w, first, root, rows[q], adam.last[layer, rows[q]], adam)


@inlined
def catch_up_all(network: Network, adam: Adam) -> None:
    """Bring all rows up to date, and count anew: nothing is left that a checkpoint would have to keep."""
    smallest = adam.constants[2]
    zero = smallest * 0
    for layer in range(len(network.starts)):
        first, root = moments(network, adam.first, layer), moments(network, adam.root, layer)
        for row in range(network.sizes[layer]):
            if not adam.eager:
                move_row(matrix(network, layer), first, root, row, adam.last[layer, row], adam)
            waited = max(adam.updates[0] - adam.last[layer, row] - (adam.fade if adam.eager else 0), 0)
            left1, left2 = adam.powers[0, waited], np.sqrt(adam.powers[1, waited])
            for j in range(first.shape[1]):
                m, s = left1 * first[row, j], left2 * root[row, j]
                first[row, j] = zero if abs(m) <= smallest else m
                root[row, j] = zero if s * s <= smallest else s
            adam.last[layer, row] = 0
    adam.updates[0] = 0


@inlined
def move_row(w: np.ndarray, first: np.ndarray, root: np.ndarray, i: int, begin: int, adam: Adam) -> None:
    """Move the weights `w[i]` by the updates since `begin`, in none of which they had a gradient (sum_steps).

    With the mean c of e weighted by a, d = 1 / (s + epsilon c) and y = epsilon c d, the sum of a / (s + epsilon e) is
    d (sum of a) (1 + m2 y^2 - m3 y^3 + ...), where mk are the central moments of e / c. The series ends there if what
    follows is below rounding: its remainder, the mean of (e/c - 1)^4 y^4 / (1 + (e/c - 1) y), is at most m4 c / e of
    the first e, since y <= 1 and e grows; and the sum is not below its first term, 1 / (s + epsilon e) being convex.
    Where it is not (soon after the beginning, when e changes fast; always in float64), all steps are taken.
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
def replay_row(w: np.ndarray, first: np.ndarray, root: np.ndarray, i: int, begin: int, steps: int, adam: Adam) -> None:
    """As move_row, update by update."""
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


@inlined
def moments(network: Network, kept: np.ndarray, layer: int) -> np.ndarray:
    """Those of a layer's weights, `[in, out]`."""
    rows, columns = network.strides[layer], network.strides[layer + 1]
    start = network.starts[layer]
    return kept[start : start + rows * columns].reshape(rows, columns)
