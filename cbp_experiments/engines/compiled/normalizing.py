"""Online normalization compiled: learners/normalization.py for one run at mini-batch 1.

The loops are short and many, because with more arrays in one the compiler gives up vectors.
"""

import numpy as np

from cbp_experiments.compiling import inlined
from cbp_experiments.engines.compiled.adam import SMALLEST
from cbp_experiments.engines.compiled.structures import Network, Normalization, Scratch


@inlined
def normalize(network: Network, normalization: Normalization, scratch: Scratch, layer: int) -> None:
    """Turn the weighted sums `scratch.h[layer + 1]` into gain y + bias, and move the statistics on."""
    n, x, bias = network.strides[layer + 1], scratch.h[layer + 1], network.biases[layer]
    gain, mean, variance = normalization.gain[layer], normalization.mean[layer], normalization.variance[layer]
    y, inverse = normalization.y[layer], normalization.inverse[layer]
    kept, fresh, spread = normalization.decay[0], normalization.decay[1], normalization.decay[2]
    number, epsilon = x.dtype.type, normalization.constants[1]
    zero, one, smallest = number(0), number(1), number(SMALLEST)
    for j in range(n):
        inverse[j] = one / np.sqrt(variance[j] + epsilon)
    for j in range(n):
        y[j] = x[j] - mean[j]
    for j in range(n):
        moved = mean[j] + fresh * y[j]
        mean[j] = moved if abs(moved) > smallest else moved * zero
    for j in range(n):
        moved = kept * variance[j] + spread * (y[j] * y[j])
        variance[j] = moved if moved > smallest else moved * zero
    for j in range(n):
        y[j] *= inverse[j]
    for j in range(n):
        x[j] = gain[j] * y[j] + bias[j]


@inlined
def control(network: Network, normalization: Normalization, scratch: Scratch, layer: int) -> None:
    """Turn the step of gain y + bias, `scratch.step[layer + 1]`, into that of the weighted sums.

    Leaves the steps of bias and gain in `normalization`. The step is dense: control moves inactive units too.
    """
    n, step, gain = network.strides[layer + 1], scratch.step[layer + 1], normalization.gain[layer]
    y, inverse = normalization.y[layer], normalization.inverse[layer]
    error_y, error_1 = normalization.error_y[layer], normalization.error_1[layer]
    number, rate = step.dtype.type, normalization.constants[0]
    zero, smallest = number(0), number(SMALLEST)
    for j in range(n):
        normalization.shift_step[j] = step[j]
    for j in range(n):
        normalization.gain_step[j] = step[j] * y[j]
    for j in range(n):
        step[j] = gain[j] * step[j] - rate * error_y[j] * y[j]
    for j in range(n):
        error = error_y[j] + step[j] * y[j]
        error_y[j] = error if abs(error) > smallest else error * zero
    for j in range(n):
        step[j] = step[j] * inverse[j] - rate * error_1[j]
    for j in range(n):
        error = error_1[j] + step[j]
        error_1[j] = error if abs(error) > smallest else error * zero


@inlined
def renew_normalization(normalization: Normalization, layer: int, unit: int) -> None:
    """As at the beginning, for a replaced unit."""
    normalization.gain[layer, unit] = 1
    normalization.mean[layer, unit] = 0
    normalization.variance[layer, unit] = 1
    normalization.error_y[layer, unit] = 0
    normalization.error_1[layer, unit] = 0
    if normalization.first.shape[0] > 0:
        normalization.first[layer, unit] = 0
        normalization.root[layer, unit] = 0
