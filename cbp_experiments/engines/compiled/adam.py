"""Adam compiled: learners/optimizers.py for one run at mini-batch 1.

The rows of inputs that are 0 have no gradient, yet their weights move on as the moments decay. Nobody reads them, so
they catch up when their input is next not 0: in all updates since, by the steps that they would have taken one by one
(the same but for rounding), of which those after the first `fade` are left out (updates_to_fade). Where every weight is
needed after every update no row waits: for utilities it still rests once faded, under weight decay it never does.

The functions on one row are inlined: a call that passes all arrays of Adam takes as long as a hundred weights.
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
    adam.updates[0] += 1


@jit
def update_layer_adam(
    network: Network, update: Update, normalization: Normalization | None, adam: Adam, scratch: Scratch, layer: int
) -> None:
    """Adam on a layer by the gradient of its outputs; leaves that of its inputs in `scratch.step[layer]`."""
    gradient, step_size, number = scratch.step[layer + 1], update.step_size, scratch.step.dtype.type
    zero, one = number(0), number(1)
    rows, x, back, last = scratch.rows[layer], scratch.x[layer], scratch.back, adam.last[layer]
    w, first, second = matrix(network, layer), moments(network, adam.first, layer), moments(network, adam.second, layer)
    oldest1, oldest2 = adam.inverse1[0, 0], adam.inverse2[0, 0]
    inverse1, inverse2 = adam.inverse1[layer], adam.inverse2[layer]
    for q in range(scratch.active[layer]):
        i = rows[q]
        row1, row2 = max(oldest1, inverse1[i]), max(oldest2, inverse2[i])
        back[q] = adam_row(w, first, second, i, x[q], gradient, row1, row2, adam, layer, step_size)
        last[i] = adam.updates[0]
    if adam.eager:
        for i in range(network.sizes[layer]):
            if 0 < adam.updates[0] - last[i] <= adam.fade:
                row1, row2 = max(oldest1, inverse1[i]), max(oldest2, inverse2[i])
                adam_row(w, first, second, i, zero, gradient, row1, row2, adam, layer, step_size)
    shift = gradient
    if normalization is not None and layer + 1 < len(network.starts):
        shift = normalization.shift_step
        w, first, second = normalization.gain, normalization.first, normalization.second
        adam_row(w, first, second, layer, one, normalization.gain_step, oldest1, oldest2, adam, layer, step_size)
    w, first, second = network.biases, adam.first_bias, adam.second_bias
    adam_row(w, first, second, layer, one, shift, oldest1, oldest2, adam, layer, step_size)
    if layer > 0:
        pass_back(network, scratch, layer, one)


@inlined
def adam_row(
    w: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    i: int,
    x: Any,
    gradient: np.ndarray,
    inverse1: Any,
    inverse2: Any,
    adam: Adam,
    layer: int,
    step_size: Any,
) -> Any:
    """Update the weights `w[i]` that leave one unit of activation x. Returns w[i] . gradient before the update.

    A weight's count of updates is the smaller of those of its two units, so its inverse correction is the larger.
    """
    beta1, rest1, beta2, rest2 = adam.betas[0], adam.betas[1], adam.betas[2], adam.betas[3]
    epsilon, decay, smallest = adam.constants[0], adam.constants[1], adam.constants[2]
    columns1, columns2 = adam.inverse1[layer + 1], adam.inverse2[layer + 1]
    n, zero = w.shape[1], w.dtype.type(0)
    back = zero
    for j in range(n):
        g = x * gradient[j] + decay * w[i, j]
        m = beta1 * first[i, j] + rest1 * g
        v = beta2 * second[i, j] + rest2 * g * g
        first[i, j] = zero if abs(m) <= smallest else m  # a not-a-number stays one
        second[i, j] = zero if v <= smallest else v
    for j in range(n):  # a loop of its own: with more arrays in one, the compiler gives up vectors
        back += w[i, j] * gradient[j]
        bend = np.sqrt(second[i, j]) * max(inverse2, columns2[j]) + epsilon
        w[i, j] -= step_size * max(inverse1, columns1[j]) * first[i, j] / bend
    return back


@jit
def catch_up_rows(network: Network, adam: Adam, layer: int, rows: np.ndarray, count: int) -> None:
    """Bring the rows `rows[:count]` of a layer up to date."""
    for q in range(count):
        catch_up_row(network, adam, layer, rows[q])


@inlined
def catch_up_all(network: Network, adam: Adam) -> None:
    """Bring all rows up to date, and count anew: nothing is left that a checkpoint would have to keep."""
    for layer in range(len(network.starts)):
        for row in range(network.sizes[layer]):
            catch_up_row(network, adam, layer, row)
            adam.last[layer, row] = 0
    adam.updates[0] = 0


@inlined
def catch_up_row(network: Network, adam: Adam, layer: int, row: int) -> None:
    """The updates of a row since its input was last not 0."""
    begin, end = adam.last[layer, row], adam.updates[0]
    if adam.eager:
        begin = min(begin + adam.fade, end)  # it took those before
    if begin < end:
        steps = 0 if adam.eager else min(end - begin, adam.fade)
        first, second = moments(network, adam.first, layer), moments(network, adam.second, layer)
        idle_row(matrix(network, layer), first, second, row, begin, steps, end - begin, adam)
        adam.last[layer, row] = end


@inlined
def idle_row(
    w: np.ndarray, first: np.ndarray, second: np.ndarray, i: int, begin: int, steps: int, updates: int, adam: Adam
) -> None:
    """Updates without gradient of the weights `w[i]`, the first `steps` of which move them."""
    number, epsilon, smallest = w.dtype.type, adam.constants[0], adam.constants[2]
    beta1, beta2 = float(adam.betas[0]), float(adam.betas[2])
    n, zero, root, moved = w.shape[1], w.dtype.type(0), adam.root, adam.moved
    for j in range(n):
        root[j] = np.sqrt(second[i, j])
        moved[j] = zero
    shrink1 = shrink2 = 1.0
    for t in range(begin, begin + steps):
        shrink1 *= beta1
        shrink2 *= np.sqrt(beta2)
        rate, bend = number(shrink1 * adam.rates[t]), number(shrink2 * adam.bends[t])
        for j in range(n):
            moved[j] += rate * first[i, j] / (bend * root[j] + epsilon)
    shrink1, shrink2 = number(beta1**updates), number(beta2**updates)
    for j in range(n):
        w[i, j] -= moved[j]
        m, v = shrink1 * first[i, j], shrink2 * second[i, j]
        first[i, j] = zero if abs(m) <= smallest else m  # a not-a-number stays one
        second[i, j] = zero if v <= smallest else v


@inlined
def moments(network: Network, kept: np.ndarray, layer: int) -> np.ndarray:
    """Those of a layer's weights, `[in, out]`."""
    rows, columns = network.strides[layer], network.strides[layer + 1]
    start = network.starts[layer]
    return kept[start : start + rows * columns].reshape(rows, columns)
